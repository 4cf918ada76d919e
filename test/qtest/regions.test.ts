// Accesses of stock QEMU's guest to regions: handled, plain and mapped ones; answers that fail or never come.
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'

import { GuestMemory } from '../../ts/index.js'
import { deviceOf, running } from './served.js'

test('each width reaches the handlers, with offset and value', async (t) => {
  const seen: unknown[] = []
  const { guest, bar0 } = await running(t, {
    regions: { bar0: { size: 0x1000 } },
    onRead: (region, offset, width) => {
      seen.push(['read', region, offset, width])
      return 0x8877_6655
    },
    onWrite: (region, offset, width, value) => seen.push(['write', region, offset, width, value]),
    onRead64: (region, offset) => {
      seen.push(['read', region, offset, 8])
      return 0x1122_3344_5566_7788n
    },
    onWrite64: (region, offset, value) => seen.push(['write', region, offset, 8, value]),
  })
  t.is(await guest.read8(bar0 + 1), 0x55)
  t.is(await guest.read16(bar0 + 2), 0x6655)
  t.is(await guest.read32(bar0 + 4), 0x8877_6655)
  t.is(await guest.read64(bar0 + 8), 0x1122_3344_5566_7788n)
  await guest.write8(bar0 + 3, 0xab)
  await guest.write16(bar0 + 6, 0xabcd)
  await guest.write32(bar0 + 8, 0xdead_beef)
  await guest.write64(bar0 + 16, 0x0102_0304_0506_0708n)
  // Writes are posted: only what is read after them tells that they have arrived.
  await guest.read8(bar0)
  t.deepEqual(seen, [
    ['read', 'bar0', 1, 1],
    ['read', 'bar0', 2, 2],
    ['read', 'bar0', 4, 4],
    ['read', 'bar0', 8, 8],
    ['write', 'bar0', 3, 1, 0xab],
    ['write', 'bar0', 6, 2, 0xabcd],
    ['write', 'bar0', 8, 4, 0xdead_beef],
    ['write', 'bar0', 16, 8, 0x0102_0304_0506_0708n],
    ['read', 'bar0', 0, 1],
  ])
})

test('ports are a region like others', async (t) => {
  const seen: unknown[] = []
  const { guest, bar0 } = await running(t, {
    regions: { bar0: { size: 16, io: true } },
    onRead: (_region, offset, width) => offset * 16 + width,
    onWrite: (_region, offset, width, value) => seen.push([offset, width, value]),
  })
  t.is(await guest.in8(bar0 + 3), 0x31)
  t.is(await guest.in16(bar0 + 4), 0x42)
  t.is(await guest.in32(bar0 + 8), 0x84)
  await guest.out8(bar0 + 1, 5)
  await guest.out32(bar0 + 12, 0x1234_5678)
  t.deepEqual(seen, [
    [1, 1, 5],
    [12, 4, 0x1234_5678],
  ])
})

// Before the others: it keeps this process from reading.
test.serial(
  'writes to a server that is busy arrive, all of them and in order, many in one message',
  async (t) => {
    const values: number[] = []
    const { guest, bar0, qemu, server } = await running(t, {
      regions: { bar0: { size: 0x4000 } },
      onRead: () => values.length,
      onWrite: (_region, _offset, _width, value) => values.push(value),
    })
    const bytes = new Uint8Array(0x4000)
    const words = new DataView(bytes.buffer)
    const count = bytes.length / 4
    for (let i = 0; i < count; i++) words.setUint32(4 * i, i, true)
    const joined = (): boolean => server.statistics.messages < server.statistics.writes
    let rounds = 0
    // On a machine that is busy QEMU may get to the writes only when they are read again: another round, then.
    for (; rounds < 10 && !joined(); rounds++) {
      const written = guest.write(bar0, bytes)
      await sleep(1)
      // QEMU writes them one by one, and its queue fills, while nothing here reads the socket.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
      await written
      await guest.read32(bar0)
    }
    t.true(joined())
    t.deepEqual(
      values,
      Array.from({ length: rounds * count }, (_, i) => i % count),
    )
    t.is(qemu.said, '')
  },
)

test('a mapped region is memory of both, and no access to it is a message', async (t) => {
  const memory = GuestMemory.create(0x2000)
  t.teardown(() => memory.close())
  let messages = 0
  const { guest, bar0, qemu } = await running(t, {
    regions: { bar0: { size: 0x2000, memory } },
    onRead: () => messages++,
    onWrite: () => messages++,
  })
  await guest.write32(bar0 + 0x10, 0xcafe_f00d)
  t.is(new DataView(memory.buffer).getUint32(0x10, true), 0xcafe_f00d)
  new DataView(memory.buffer).setUint32(0x1ff0, 77, true)
  t.is(await guest.read32(bar0 + 0x1ff0), 77)
  t.is(messages, 0)
  t.is(qemu.said, '')
})

test('of a region that is mapped in part, the rest goes to the handlers', async (t) => {
  const memory = GuestMemory.create(0x4000)
  t.teardown(() => memory.close())
  const seen: number[] = []
  const { guest, bar0, qemu } = await running(t, {
    regions: { bar0: { size: 0x4000, memory, mmapAreas: [{ offset: 0x1000, size: 0x2000 }] } },
    onRead: (_region, offset) => offset,
    onWrite: (_region, offset, _width, value) => seen.push(offset, value),
  })
  const view = new DataView(memory.buffer)
  await guest.write32(bar0 + 0x1000, 1)
  await guest.write32(bar0 + 0x2ffc, 2)
  t.deepEqual([view.getUint32(0x1000, true), view.getUint32(0x2ffc, true)], [1, 2])
  t.is(await guest.read32(bar0 + 0xffc), 0xffc)
  await guest.write32(bar0 + 0x3000, 3)
  // A device with anything to map has each write answered before the guest goes on.
  t.deepEqual(seen, [0x3000, 3])
  t.is(view.getUint32(0x3000, true), 0)
  t.is(qemu.said, '')
})

test('what would end QEMU is refused where it is declared: areas that are not whole pages, or past the end', (t) => {
  const memory = GuestMemory.create(0x2000)
  t.teardown(() => memory.close())
  const declared = (offset: number, size: number) => () =>
    deviceOf({ regions: { bar0: { size: 0x2000, memory, mmapAreas: [{ offset, size }] } } })
  t.throws(declared(0x800, 0x1000), { instanceOf: RangeError })
  t.throws(declared(0, 0x800), { instanceOf: RangeError })
  t.throws(declared(0x1000, 0x2000), { instanceOf: RangeError })
  t.throws(() => deviceOf({ regions: { bar0: { size: 0x4000, memory } } }), { instanceOf: RangeError })
  t.notThrows(declared(0x1000, 0x1000))
})

test('an author whose handler fails answers all ones, and the device goes on', async (t) => {
  const { guest, bar0, qemu, errors } = await running(t, {
    regions: { bar0: { size: 0x1000 } },
    onRead: (_region, offset) => {
      if (offset === 0) throw new Error('no such register')
      return offset
    },
    onWrite: () => {
      throw new Error('no such register')
    },
  })
  t.is(await guest.read32(bar0), 0xffff_ffff)
  await guest.write32(bar0 + 8, 1)
  t.is(await guest.read32(bar0 + 4), 4)
  t.true(qemu.running)
  t.deepEqual(errors, ['no such register', 'no such register'])
})

test('an answer that never comes is all ones before QEMU gives up, and it keeps the device', async (t) => {
  const { guest, bar0, qemu, errors } = await running(t, {
    regions: { bar0: { size: 0x1000 } },
    onRead: (_region, offset) => (offset === 0 ? new Promise<number>(() => undefined) : offset),
  })
  const start = performance.now()
  t.is(await guest.read32(bar0), 0xffff_ffff)
  t.true(performance.now() - start < 4000)
  t.is(await guest.read32(bar0 + 4), 4, 'the stream is in step')
  t.is(qemu.said, '')
  t.is(errors.length, 1)
  t.regex(errors[0] ?? '', /has not answered within 1000 ms/)
})

test('an answer that comes later than others is waited for', async (t) => {
  const { guest, bar0 } = await running(t, {
    regions: { bar0: { size: 0x1000 } },
    onRead: async (_region, offset) => {
      await sleep(20)
      return offset + 1
    },
  })
  t.is(await guest.read32(bar0 + 8), 9)
  t.is(await guest.read32(bar0 + 12), 13)
})
