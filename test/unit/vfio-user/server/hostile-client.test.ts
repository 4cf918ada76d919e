// Clients that send what they like: the server answers or hangs up, keeps no descriptor, and serves the next one.
import test from 'ava'
import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { openDescriptors } from '../transport.js'
import { type Peer, own, serve, until } from './peer.js'

const ROUNDS = 60
const MESSAGES = 60

const word = fc.oneof(
  { weight: 4, arbitrary: fc.nat(40) },
  { weight: 2, arbitrary: fc.constantFrom(0x1000, 0x2000, 4096, 65536, 1 << 20, 0x7fff_ffff, 0xffff_ffff) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
)
// What ends a connection is rare enough for what does not to have its turn.
const flags = fc.oneof(
  { weight: 100, arbitrary: fc.constantFrom(0, 0, 0, 0x10, 0x20) },
  { weight: 1, arbitrary: fc.constantFrom(1, 2) },
)
const message = fc.record({
  command: fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: 2, max: 18 }) },
    { weight: 1, arbitrary: fc.nat(0xffff) },
  ),
  flags,
  words: fc.array(word, { maxLength: 14 }),
  fds: fc.array(fc.nat(2), { maxLength: 3 }),
  odd: fc.constantFrom(0, 0, 0, 0, 1, 3),
})

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
    const sent = fc.sample(message, { numRuns: MESSAGES, seed: round })
    const state = { over: false }
    void peer.ended.then(() => (state.over = true))
    for (const [i, { command, flags: type, words, fds, odd }] of sent.entries()) {
      const { outData, out } = peer.connection
      const size = 16 + words.length * 4 + odd
      out.fill(0, 0, size)
      outData.setUint16(0, i, true)
      outData.setUint16(2, command, true)
      outData.setUint32(4, size, true)
      outData.setUint32(8, type, true)
      words.forEach((value, at) => outData.setUint32(16 + 4 * at, value >>> 0, true))
      // argsz and a length that are right more often than chance has it.
      if (words.length > 0 && i % 2 === 0) outData.setUint32(16, size - 16, true)
      peer.connection.send(
        size,
        fds.map((each) => given[each]!),
      )
      if (i % 7 === 0) await sleep(0)
      if (state.over) break
    }
    await sleep(2)
    if (state.over) hungUp++
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
