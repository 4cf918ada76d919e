// Clients that connect and say nothing, or half of something: they hold up nobody, and go.
import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'

import { FRAMING } from '../../../../ts/vfio-user/protocol/constants.js'
import { Connection } from '../../../../ts/vfio-user/transport/connection.js'
import { UserDevice, UserDeviceServer } from '../../../../ts/vfio-user/index.js'
import { openDescriptors } from '../transport.js'
import { IDENTITY, Peer, own, registers, serve, until } from './peer.js'

test('a client that says nothing does not keep the next one waiting, and is hung up on', async (t) => {
  const { server, errors, connect } = serve(t, registers().options, { handshakeMillis: 1500 })
  const silent = connect()
  await sleep(20)
  const from = performance.now()
  const peer = connect()
  await peer.negotiate()
  t.true(performance.now() - from < 1400)
  t.is(await peer.read32(7, 0), 0x11e8_1234)
  t.is((await silent.ended).reason, 'peer-gone')
  t.is(server.statistics.silent, 1)
  t.is(server.statistics.clients, 1)
  t.is((errors[0] as NodeJS.ErrnoException | undefined)?.code, 'ETIMEDOUT')
  t.regex(errors[0]?.message ?? '', /no version for 1500 ms/)
  t.is(await peer.read32(0, 0), 0)
})

test('half a version, or one that never ends, is as good as silence', async (t) => {
  const { errors, connect } = serve(t, {}, { handshakeMillis: 150 })
  const half = connect()
  half.connection.outData.setUint32(4, 64, true)
  half.connection.send(40)
  const slow = connect()
  const trickle = setInterval(() => {
    slow.connection.outData.setUint32(4, 4096, true)
    slow.connection.send(1)
  }, 10)
  t.teardown(() => {
    clearInterval(trickle)
  })
  const from = performance.now()
  for (const each of [half, slow]) t.regex((await each.ended).reason, /peer-gone|failed/)
  clearInterval(trickle)
  t.true(performance.now() - from < 1000)
  t.is(errors.length, 2)
})

// Alone, since it counts descriptors.
test.serial('so many silent ones are let in at once, and none of them is in the way for long', async (t) => {
  const { server, connect, path } = serve(t, {}, { handshakeMillis: 300, onError: () => undefined })
  const warm = connect()
  await warm.negotiate()
  warm.close()
  await until(() => !server.connected)
  await sleep(10)
  const before = openDescriptors()
  const silent: Connection[] = []
  t.teardown(() => {
    for (const each of silent) each.close()
  })
  // As many as fit in here and in the kernel's queue.
  for (let refused = 0; refused < 3;) {
    try {
      silent.push(Connection.connect(path, { framing: FRAMING }))
    } catch (error) {
      t.is((error as NodeJS.ErrnoException).code, 'EAGAIN')
      refused++
    }
    await sleep(1)
  }
  t.true(silent.length > 16 && silent.length < 40, String(silent.length))
  t.true(openDescriptors() - before - silent.length <= 17)
  const from = performance.now()
  let peer: Peer | undefined
  while (peer === undefined) {
    try {
      peer = connect()
    } catch {
      await sleep(5)
    }
  }
  t.is((await peer.negotiate()).errno, null)
  t.true(performance.now() - from < 1000)
  t.true(server.statistics.silent >= 16)
  for (const each of silent.splice(0)) each.close()
  peer.close()
  await until(() => openDescriptors() === before)
  t.is(openDescriptors(), before)
})

test('who has spoken while another is served waits for its turn, however long that is', async (t) => {
  const { server, connect } = serve(t, {}, { handshakeMillis: 50 })
  // All of them are let in before the first has spoken.
  const peers = [connect(), connect(), connect()]
  await sleep(10)
  const replies = peers.map((peer) => peer.negotiate())
  await replies[0]
  await sleep(200)
  t.is(server.statistics.clients, 1)
  for (const [i, peer] of peers.entries()) {
    t.is((await replies[i])?.errno, null)
    t.is(await peer.read32(7, 0), 0x11e8_1234)
    peer.close()
  }
  t.is(server.statistics.silent, 0)
})

test('who has waited and gone is nobody’s turn', async (t) => {
  const { server, connect, errors } = serve(t, {})
  const peers = [connect(), connect(), connect()]
  await sleep(10)
  const replies = peers.map((peer) => peer.negotiate().catch(() => null))
  await replies[0]
  peers[1]?.close()
  peers[0]?.close()
  t.is((await replies[2])?.errno, null)
  t.is(await peers[2]?.read32(7, 0), 0x11e8_1234)
  t.true(server.connected)
  t.deepEqual(errors, [])
})

test('a version that came while the event loop was busy counts as said in time', async (t) => {
  const { server, connect } = serve(t, {}, { handshakeMillis: 50 })
  const peer = connect()
  await sleep(10)
  const reply = peer.negotiate()
  const end = performance.now() + 200
  while (performance.now() < end);
  t.is((await reply).errno, null)
  t.is(server.statistics.silent, 0)
})

test('a server that is closed hangs up on those who wait', async (t) => {
  const { server, connect } = serve(t, {}, { handshakeMillis: 60_000 })
  const peers = [connect(), connect()]
  await sleep(20)
  server.close()
  for (const peer of peers) t.is((await peer.ended).reason, 'peer-gone')
  t.is(server.statistics.silent, 0)
})

test('a client on an inherited socket may take its time', async (t) => {
  const [one, other] = Connection.pair({ framing: FRAMING })
  const [courier, receiver] = Connection.pair({ framing: FRAMING })
  courier.outData.setUint32(4, 16, true)
  courier.send(16, [one.fd])
  receiver.wait(1000)
  const [fd] = receiver.takeFds(0)
  for (const each of [courier, receiver, one]) each.close()
  const device = new UserDevice({ name: 'test device', pci: IDENTITY })
  const server = own(t, UserDeviceServer.fromFd(fd!, device, { handshakeMillis: 10 }))
  const peer = own(t, new Peer(other))
  await sleep(100)
  t.is((await peer.negotiate()).errno, null)
  t.is(server.statistics.silent, 0)
})

test('a server on a thread of its own is not held up by silence either', async (t) => {
  const { server, connect } = serve(t, {}, { mode: 'thread', handshakeMillis: 100 })
  const running = server.run()
  const silent = connect()
  await sleep(5)
  const peer = connect()
  t.is((await peer.negotiate()).errno, null)
  t.is((await silent.ended).reason, 'peer-gone')
  peer.close()
  const next = connect()
  t.is((await next.negotiate()).errno, null)
  server.close()
  await running
})
