// Clients that send what they like: the server answers or hangs up, keeps no descriptor, and serves the next one.
import test from 'ava'
import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { openDescriptors } from '../transport.js'
import { type Peer, own, serve, until } from './peer.js'
import { speakAtRandom } from './random-client.js'

const ROUNDS = 60

// Alone, since it counts descriptors.
test.serial('whatever a client sends, the server goes on, and keeps nothing', async (t) => {
  const memory = own(t, GuestMemory.create(0x4000))
  const shown = own(t, GuestMemory.create(0x10000))
  const eventfd = own(t, new EventFd())
  const other = openSync('/dev/zero', 'r')
  t.teardown(() => closeSync(other))
  const rings: number[] = []
  const { server, device, connect } = serve(t, {
    irqs: { intx: true, msi: 4, msix: 8 },
    regions: {
      bar0: { size: 0x1000, doorbells: [{ offset: 8, width: 4, onRing: (count) => rings.push(count) }] },
      bar2: { size: 0x2000, memory, mmapAreas: [{ offset: 0x1000, size: 0x1000 }] },
      bar4: { size: 0x1000, plain: true },
    },
    onRead: (_region, offset) => {
      if (offset % 64 === 0) throw new Error('broken')
      return offset % 32 === 0 ? sleep(1, offset) : offset
    },
    onWrite: (_region, offset) => {
      device.raise('msix', offset % 8)
      device.raise('intx')
      if (offset % 16 === 0) void device.dma.write(BigInt(offset), new Uint8Array(8)).catch(() => undefined)
    },
    migration: { save: () => new Uint8Array(100), load: () => undefined, preCopy: () => new Uint8Array(10) },
  })
  const warm = connect()
  await warm.negotiate()
  warm.close()
  await until(() => !server.connected)
  await sleep(20)
  const before = openDescriptors()
  const given = [shown.fd, eventfd.fd, other]
  let hungUp = 0
  for (let round = 0; round < ROUNDS; round++) {
    const peer = connect()
    if (round % 10 !== 0) {
      await peer.negotiate()
      await peer.master()
    }
    if (await speakAtRandom(peer, round, given)) hungUp++
    peer.close()
    await until(() => !server.connected)
    t.deepEqual(device.dma.ranges, [])
  }
  await until(() => openDescriptors() === before)
  t.is(openDescriptors(), before)
  t.is(device.interruptMode, null)
  t.true(hungUp > 5 && hungUp < ROUNDS, `${String(hungUp)} were hung up on`)
  const next = connect()
  await next.negotiate()
  t.is(await next.read32(7, 0), (0x11e8 << 16) | 0x1234)
})

test('a message that comes byte by byte, and one that never ends, hold up nobody else', async (t) => {
  const { connect, server } = serve(t, {})
  const slow = connect()
  const reply = slow.negotiate()
  const other = serve(t, {})
  const peer = other.connect()
  await peer.negotiate()
  await reply
  const { connection } = slow
  connection.outData.setUint32(4, 32, true)
  for (let i = 0; i < 15; i++) {
    connection.send(1)
    await sleep(1)
  }
  t.is((await peer.read(7, 0, 4)).length, 4)
  slow.close()
  await until(() => !server.connected)
  t.false(server.connected)
})

test('a client that floods with interrupts and reads is served in order, and others too', async (t) => {
  const one = serve(t, { regions: { bar0: { size: 16 } }, onRead: () => 1 })
  const peer = one.connect()
  await peer.negotiate()
  const flood = Array.from({ length: 5000 }, () => peer.read32(0, 0))
  const other = serve(t, {})
  const calm: Peer = other.connect()
  await calm.negotiate()
  t.is((await calm.read(7, 0, 2)).length, 2)
  t.true((await Promise.all(flood)).every((each) => each === 1))
})
