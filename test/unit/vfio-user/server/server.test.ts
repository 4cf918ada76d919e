// A server over its life: clients one after the other, what stays of them and what does not, and the form for a Worker.
import test from 'ava'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { UserDevice, UserDeviceServer } from '../../../../ts/vfio-user/index.js'
import { FRAMING } from '../../../../ts/vfio-user/protocol/constants.js'
import { encodeReset } from '../../../../ts/vfio-user/protocol/device-info.js'
import * as header from '../../../../ts/vfio-user/protocol/header.js'
import { encodeGetIoFds } from '../../../../ts/vfio-user/protocol/io-fds.js'
import { Connection } from '../../../../ts/vfio-user/transport/connection.js'
import { Listener } from '../../../../ts/vfio-user/transport/listener.js'
import { temporaryFolder } from '../../../temporary.js'
import { SANITIZED } from '../../support.js'
import { openDescriptors } from '../transport.js'
import { IDENTITY, Peer, bytesOf32, connected, own, registers, serve, until } from './peer.js'

// Alone, since they count descriptors.
test.serial('of a client that is gone nothing stays but what the device is in', async (t) => {
  const memory = own(t, GuestMemory.create(0x1000))
  const { options, values } = registers()
  const { device, connect } = serve(t, {
    ...options,
    irqs: { intx: true, msix: 2 },
    regions: { bar0: { size: 0x1000, doorbells: [{ offset: 0, onRing: () => undefined }] } },
  })
  // What the process has from its first connection and its first watch of an eventfd on.
  const first = connect()
  await first.negotiate()
  await first.call((view, id) => encodeGetIoFds(view, 0, id, { argsz: 4096, index: 0 }))
  first.close()
  await until(() => !device.connected)
  await sleep(20)
  const before = openDescriptors()
  const peer = connect()
  await peer.negotiate()
  await peer.master()
  await peer.write32(0, 8, 77)
  await peer.map(memory, 0n, 0x1000n)
  const window = device.dma.window(0n, 16)
  const eventfds = [0, 1, 2, 3].map(() => new EventFd())
  await peer.irqs(2, 0, eventfds.slice(0, 2))
  await peer.irqs(0, 0, eventfds.slice(2, 3))
  await peer.irqs(0, 0, eventfds.slice(3), 16)
  await peer.call((view, id) => encodeGetIoFds(view, 0, id, { argsz: 4096, index: 0 }))
  for (const each of eventfds) each.close()
  t.true(openDescriptors() > before + 6)
  peer.close()
  await until(() => !device.connected)
  t.is(window.byteLength, 0)
  t.is(device.interruptMode, null)
  t.deepEqual(device.dma.ranges, [])
  await until(() => openDescriptors() === before)
  t.is(openDescriptors(), before)
  t.is(values.get(8), 77)
  const next = connect()
  await next.negotiate()
  t.is(await next.read32(0, 8), 77)
  t.is((await next.read32(7, 4)) & 4, 4)
})

/** Ways to come and go, by turns: with the version that the first of them has agreed on. */
const VISITS: readonly ((peer: Connection, version: Uint8Array, fd: number) => void)[] = [
  () => undefined,
  (peer, version) => peer.send(put(peer, version, version.length)),
  (peer, version) => peer.send(put(peer, version, 1 + (version.length >> 1))),
  (peer, version, fd) => peer.send(put(peer, version, version.length), [fd, fd]),
  (peer) => peer.send(put(peer, new Uint8Array(64), 64)),
  (peer, _version, fd) => peer.send(put(peer, Uint8Array.of(1, 0, 1, 0), 4), [fd]),
]

function put(peer: Connection, bytes: Uint8Array, length: number): number {
  peer.out.set(bytes)
  return length
}

/** Whatever the listener's queue holds already. */
async function connectSoon(path: string): Promise<Connection> {
  for (;;) {
    try {
      return Connection.connect(path, { framing: FRAMING })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await turn()
    }
  }
}

test.serial('ten thousand clients one after the other leave nothing behind', async (t) => {
  const { server, device, path, connect } = serve(t, registers().options, { onError: () => undefined })
  const first = connect()
  await first.negotiate()
  const version = first.connection.out.slice(0, first.connection.outData.getUint32(4, true))
  first.close()
  await until(() => !device.connected)
  const eventfd = own(t, new EventFd())
  const before = openDescriptors()
  const memory = process.memoryUsage.rss()
  const count = SANITIZED ? 600 : 10_000
  const start = performance.now()
  let most = 0
  for (let i = 0; i < count; i++) {
    const peer = await connectSoon(path)
    VISITS[i % VISITS.length]?.(peer, version, eventfd.fd)
    peer.close()
    if (i % 8 !== 0) continue
    most = Math.max(most, openDescriptors())
    await turn()
  }
  await until(() => server.statistics.clients >= 1 + count / VISITS.length && !server.connected)
  await until(() => openDescriptors() === before)
  t.is(openDescriptors(), before)
  const grown = (process.memoryUsage.rss() - memory) / 2 ** 20
  const each = (performance.now() - start) / count
  t.log(
    `${each.toFixed(3)} ms each, ${grown.toFixed(1)} MiB more, ${String(most - before)} descriptors at most`,
  )
  t.true(most - before < 80, String(most))
  if (!SANITIZED) t.true(grown < 96, `${grown.toFixed(1)} MiB`)
  const last = connect()
  t.is((await last.negotiate()).errno, null)
})

test('the next client waits until the one before is gone', async (t) => {
  const { server, connect } = serve(t, registers().options)
  const one = connect()
  await one.negotiate()
  const other = connect()
  let served = false
  const reply = other.negotiate().then(() => (served = true))
  await sleep(50)
  t.false(served)
  t.is(server.statistics.clients, 1)
  one.close()
  await reply
  t.true(served)
  t.is(server.statistics.clients, 2)
})

test('a client that breaks the protocol loses its connection, and the next one is served', async (t) => {
  const { server, errors, connect } = serve(t, registers().options)
  const wrong = connect()
  await wrong.negotiate()
  wrong.connection.outData.setUint32(4, 0xffff_ffff, true)
  wrong.connection.send(16)
  t.is((await wrong.ended).reason, 'peer-gone')
  t.regex(errors[0]?.message ?? '', /longer than allowed/)
  const next = connect()
  await next.negotiate()
  t.is(await next.read32(0, 0), 0)
  t.is(server.statistics.clients, 2)
})

test('one client does no harm to another device of the process', async (t) => {
  const good = await connected(t, registers().options)
  const bad = await connected(t, {
    regions: { bar0: { size: 16 } },
    onRead: () => {
      throw new Error('broken')
    },
  })
  await good.peer.write32(0, 0, 3)
  t.is(await bad.peer.read32(0, 0), 0xffff_ffff)
  bad.peer.connection.outData.setUint32(4, 3, true)
  bad.peer.connection.send(16)
  await bad.peer.ended
  t.is(await good.peer.read32(0, 0), 3)
  t.deepEqual(good.errors, [])
})

test('the author is told of clients that have agreed on a version, and of their going', async (t) => {
  const log: string[] = []
  const { connect, device, errors } = serve(t, {
    onConnect: () => log.push('connect'),
    onDisconnect: () => {
      log.push('disconnect')
      throw new Error('broken')
    },
  })
  const silent = connect()
  await sleep(10)
  silent.close()
  const peer = connect()
  await peer.negotiate()
  t.true(device.connected)
  peer.close()
  await until(() => log.length === 2)
  t.deepEqual(log, ['connect', 'disconnect'])
  t.deepEqual(
    errors.map(({ message }) => message),
    ['broken'],
  )
})

test('the socket belongs to who runs the server, and goes with it', async (t) => {
  const { path, server, connect } = serve(t, {})
  t.is(statSync(path).mode & 0o777, 0o600)
  const peer = connect()
  await peer.negotiate()
  server.close()
  server.close()
  t.true(server.closed)
  t.false(existsSync(path))
  t.is((await peer.ended).reason, 'peer-gone')
})

test('a device has one server at a time, and may have another later', (t) => {
  const { device, path, server } = serve(t, {})
  t.throws(() => UserDeviceServer.listen(`${path}2`, device), { code: 'EBUSY' })
  t.throws(() => UserDeviceServer.listen(path, new UserDevice({ name: 'other', pci: IDENTITY })), {
    code: 'EADDRINUSE',
  })
  server.close()
  own(t, UserDeviceServer.listen(path, device))
})

test('after a server that could not listen the device is free', (t) => {
  const device = new UserDevice({ name: 'test device', pci: IDENTITY })
  const path = join(temporaryFolder(t, 'user'), 'missing', 'socket')
  t.throws(() => UserDeviceServer.listen(path, device), { code: 'ENOENT' })
  own(t, UserDeviceServer.listen(join(temporaryFolder(t, 'user'), 'socket'), device))
})

test('what is no option is refused', (t) => {
  const device = new UserDevice({ name: 'test device', pci: IDENTITY })
  const path = join(temporaryFolder(t, 'user'), 'socket')
  const wrong = [
    { mode: 'fork' },
    { spinMicros: -1 },
    { deadlineMillis: 5000 },
    { handshakeMillis: 0 },
    { handshakeMillis: 60_001 },
    { fileMode: 0o1777 },
    { onError: 1 },
    { anyFile: 1 },
  ]
  for (const options of wrong)
    t.throws(() => UserDeviceServer.listen(path, device, options as never), { any: true })
  t.throws(() => UserDeviceServer.listen(path, {} as never), { instanceOf: TypeError })
  t.false(existsSync(path))
  own(t, UserDeviceServer.listen(path, device))
})

/** A descriptor that nobody owns, of one end of a pair; the other is a client. */
async function pairWithFd(t: Parameters<typeof own>[0]): Promise<{ fd: number; peer: Peer }> {
  const options = { framing: FRAMING }
  const [one, other] = Connection.pair(options)
  const [courier, receiver] = Connection.pair(options)
  courier.outData.setUint32(4, 16, true)
  courier.send(16, [one.fd])
  receiver.wait(1000)
  const [fd] = receiver.takeFds(0)
  for (const each of [courier, receiver, one]) each.close()
  await Promise.resolve()
  const peer = own(t, new Peer(other))
  return { fd: fd!, peer }
}

test('a server takes a connected socket, and serves that client', async (t) => {
  const { fd, peer } = await pairWithFd(t)
  const { options } = registers()
  const device = new UserDevice({ name: 'test device', pci: IDENTITY, ...options })
  const server = own(t, UserDeviceServer.fromFd(fd, device))
  await peer.negotiate()
  t.is(await peer.read32(7, 0), (0x11e8 << 16) | 0x1234)
  peer.close()
  await until(() => !server.connected)
  t.false(server.connected)
})

test('a server takes a socket that listens', async (t) => {
  const path = join(temporaryFolder(t, 'user'), 'socket')
  const listener = own(t, Listener.listen(path, { framing: FRAMING }))
  const [courier, receiver] = Connection.pair({ framing: FRAMING })
  courier.outData.setUint32(4, 16, true)
  courier.send(16, [listener.fd])
  receiver.wait(1000)
  const [fd] = receiver.takeFds(0)
  courier.close()
  receiver.close()
  const device = new UserDevice({ name: 'test device', pci: IDENTITY })
  own(t, UserDeviceServer.fromListenFd(fd!, device))
  for (let i = 0; i < 3; i++) {
    const peer = Peer.connect(t, path)
    t.is((await peer.negotiate()).errno, null)
    peer.close()
  }
})

test('an answer that the client does not fetch any more ends its connection, and no more', async (t) => {
  const { options } = registers(1 << 20)
  const { server, connect, errors } = serve(t, options)
  const peer = connect()
  await peer.negotiate()
  peer.connection.stop()
  const { connection } = peer
  const bytes = bytesOf32(0)
  t.is(bytes.length, 4)
  for (let i = 0; i < 40 && server.connected; i++) {
    const { outData } = connection
    outData.setUint16(0, i, true)
    outData.setUint16(2, 9, true)
    outData.setUint32(4, 32, true)
    outData.setUint32(8, 0, true)
    outData.setUint32(12, 0, true)
    outData.setBigUint64(16, 0n, true)
    outData.setUint32(24, 0, true)
    outData.setUint32(28, 1 << 20, true)
    connection.send(32)
    await sleep(5)
  }
  await until(() => !server.connected)
  t.false(server.connected)
  t.regex(errors.at(-1)?.message ?? '', /does not read/)
})

test('a handler may close the server, whatever is being served', async (t) => {
  for (const what of ['read', 'write', 'posted', 'reset', 'connect', 'memory', 'command'] as const) {
    const close = (): number => {
      server.close()
      return 0
    }
    const { server, connect, errors } = serve(t, {
      regions: { bar0: { size: 16 } },
      onRead: close,
      onWrite: close,
      onReset: close,
      ...(what === 'connect' && { onConnect: close }),
      ...(what === 'memory' && { onMemory: close }),
      ...(what === 'command' && { onCommand: close }),
    })
    const peer = connect()
    const ignored = (): void => undefined
    const negotiated = peer.negotiate().catch(ignored)
    await Promise.race([negotiated, peer.ended])
    if (what === 'read') peer.read32(0, 0).catch(ignored)
    if (what === 'write') peer.write32(0, 0, 1).catch(ignored)
    if (what === 'posted') peer.post32(0, 0, 1)
    if (what === 'reset') peer.send((view, id) => encodeReset(view, 0, id))
    if (what === 'memory') peer.map(null, 0n, 0x1000n).catch(ignored)
    if (what === 'command') peer.master().catch(ignored)
    peer.read32(7, 0).catch(ignored)
    await peer.ended
    t.true(server.closed, what)
    t.deepEqual(errors, [], what)
  }
})

test.serial('what waits behind an answer holds only so many descriptors', async (t) => {
  const { connect, errors, server } = serve(
    t,
    {
      irqs: { msix: 16 },
      regions: { bar0: { size: 16 } },
      onRead: () => new Promise<number>(() => undefined),
    },
    { deadlineMillis: 4000 },
  )
  const before = openDescriptors()
  const peer = connect()
  await peer.negotiate()
  peer.read32(0, 0).catch(() => undefined)
  const eventfd = own(t, new EventFd())
  const eventfds = Array.from({ length: 16 }, () => eventfd)
  for (let i = 0; i < 17; i++) peer.irqs(2, 0, eventfds).catch(() => undefined)
  await peer.ended
  t.regex(errors[0]?.message ?? '', /more than can wait/)
  peer.close()
  await until(() => !server.connected && openDescriptors() === before + 1)
  t.is(openDescriptors(), before + 1)
})

test('a client is served that sends more descriptors than it said, and no messages of ours, as the Rust crate does', async (t) => {
  const { connect, device } = serve(t, { irqs: { msix: 16 } })
  const peer = connect()
  const text = '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}'
  const version = await peer.call((view, id) => {
    new Uint8Array(view.buffer).set(Buffer.from(text), 20)
    view.setUint16(16, 0, true)
    view.setUint16(18, 1, true)
    return header.writeCommand(view, 0, id, 1, 20 + text.length)
  })
  t.is(version.view.getUint16(18, true), 1)
  const answer = Buffer.from(version.bytes.subarray(20)).toString()
  t.is(answer, '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576}}\0')
  await peer.master()
  const eventfd = own(t, new EventFd())
  t.is(
    (
      await peer.irqs(
        2,
        0,
        Array.from({ length: 16 }, () => eventfd),
      )
    ).errno,
    null,
  )
  for (let vector = 0; vector < 16; vector++) device.raise('msix', vector)
  t.is(eventfd.read(), 16)
  const memory = own(t, GuestMemory.create(0x1000))
  await peer.map(memory, 0n, 0x1000n)
  peer.onCommand = () => t.fail('a command of the server')
  t.is((await device.dma.read(0n, 16)).length, 16)
  await device.dma.write(0n, new Uint8Array(16))
  await t.throwsAsync(device.dma.read(0x1000n, 16), { code: 'EFAULT' })
  await peer.read32(7, 0)
})
