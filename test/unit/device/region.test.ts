// Region over a memfd: widths, bounds, order of checks, bulk copies, polling, and the guard against SIGBUS.
import { ftruncateSync } from 'node:fs'
import test from 'ava'

import { GuestMemory, type Region, VfioError } from '../../../ts/index.js'
import { addon } from '../../../ts/native/index.js'
import { memoryRegion, shrinkableMemory } from '../support.js'

const WIDTHS = [1, 2, 4] as const

type Call = (region: Region, offset: unknown, value?: unknown) => unknown

function reader(width: number, form = ''): Call {
  return (region, offset) =>
    (region as never as Record<string, (offset: unknown) => unknown>)[`read${String(width * 8)}${form}`]?.(
      offset,
    )
}
function writer(width: number, form = ''): Call {
  return (region, offset, value) =>
    (region as never as Record<string, (offset: unknown, value: unknown) => unknown>)[
      `write${String(width * 8)}${form}`
    ]?.(offset, value)
}

function bound(call: Call, region: Region): Call {
  return (_, offset, value) => call.call(region, region, offset, value)
}

for (const guard of [true, false]) {
  const how = guard ? 'mapped' : 'through the file'

  test(`${how}: every width reads and writes little-endian, and nothing beside it`, (t) => {
    using memory = GuestMemory.create(4096)
    const region = memoryRegion(memory, { guard })
    const view = new DataView(memory.buffer)
    t.is(region.isMapped(0, 8), guard)
    for (const form of ['', 'Relaxed'] as const) {
      region.write64(0, 0x1122_3344_5566_7788n)
      t.is(view.getBigUint64(0, true), 0x1122_3344_5566_7788n)
      t.is(region[`read64${form}`](0), 0x1122_3344_5566_7788n)
      t.is(region[`read32${form}`](4), 0x1122_3344)
      t.is(region[`read16${form}`](2), 0x5566)
      t.is(region[`read8${form}`](7), 0x11)
      region[`write32${form}`](0, 0xffff_ffff)
      t.is(region.read32(0), 0xffff_ffff)
      region[`write16${form}`](2, 0)
      region[`write8${form}`](0, 0xa0)
      t.is(view.getBigUint64(0, true), 0x1122_3344_0000_ffa0n)
      region[`write64${form}`](8, 0xffff_ffff_ffff_ffffn)
      t.is(view.getBigUint64(8, true), 0xffff_ffff_ffff_ffffn)
    }
    t.is(region.counters.fileAccesses > 0, !guard)
    region.closeWithDevice()
  })

  test(`${how}: offsets and values out of range`, (t) => {
    using memory = GuestMemory.create(4096)
    const region = memoryRegion(memory, { guard, size: 4096 - 2 })
    for (const width of [1, 2, 4, 8]) {
      for (const form of ['', 'Relaxed']) {
        const read = bound(reader(width, form), region)
        const write = bound(writer(width, form), region)
        const one = width === 8 ? 1n : 1
        for (const offset of [-1, 4096 - 2, 4096, 2 ** 32, 2 ** 53, 1e300, NaN, Infinity, -Infinity, 0.5]) {
          t.throws(
            () => read(region, offset),
            { instanceOf: RangeError },
            `read${String(width)} ${String(offset)}`,
          )
          t.throws(() => write(region, offset, one), { instanceOf: RangeError })
        }
        if (width > 1) {
          t.throws(() => read(region, 1), { instanceOf: RangeError, message: /multiple/ })
          t.throws(() => write(region, width / 2, one), { instanceOf: RangeError, message: /multiple/ })
          t.throws(() => read(region, 4096 - width), { instanceOf: RangeError }, 'past the end')
        }
        for (const offset of ['0', 0n, null, undefined, {}, Symbol('x'), [], true]) {
          t.throws(() => read(region, offset), { instanceOf: TypeError })
          t.throws(() => write(region, offset, one), { instanceOf: TypeError })
        }
        const outside = width === 8 ? [-1n, 1n << 64n] : [-1, 2 ** (8 * width), 0.5, NaN, Infinity]
        const wrong = width === 8 ? [1, '1', null, undefined] : [1n, '1', null, undefined, {}]
        for (const value of outside) t.throws(() => write(region, 0, value), { instanceOf: RangeError })
        for (const value of wrong) t.throws(() => write(region, 0, value), { instanceOf: TypeError })
      }
    }
    t.true(
      new Uint8Array(memory.buffer).every((byte) => byte === 0),
      'nothing was written',
    )
    region.closeWithDevice()
  })

  test(`${how}: bulk copies of any alignment`, (t) => {
    using memory = GuestMemory.create(4096)
    const region = memoryRegion(memory, { guard })
    const bytes = new Uint8Array(memory.buffer)
    const source = Uint8Array.from({ length: 100 }, (_, i) => i + 1)
    for (const [offset, length] of [
      [0, 100],
      [1, 99],
      [3, 7],
      [4095, 1],
      [4000, 96],
      [17, 0],
      [4096, 0],
    ] as const) {
      bytes.fill(0)
      region.write(offset, source.subarray(0, length))
      t.deepEqual([...bytes.subarray(offset, offset + length)], [...source.subarray(0, length)])
      t.is(
        bytes.reduce((a, b) => a + b, 0),
        source.subarray(0, length).reduce((a, b) => a + b, 0),
      )
      const target = new Uint8Array(length + 2)
      region.read(offset, target.subarray(1, length + 1))
      t.deepEqual([...target], [0, ...source.subarray(0, length), 0])
    }
    const words = new Uint16Array(2)
    region.write(0, Uint8Array.of(1, 2, 3, 4))
    region.read(0, new DataView(words.buffer))
    t.deepEqual([...words], [0x0201, 0x0403])
    t.throws(
      () => {
        region.read(4000, new Uint8Array(97))
      },
      { instanceOf: RangeError },
    )
    t.throws(
      () => {
        region.read(0, new ArrayBuffer(1) as never)
      },
      { instanceOf: TypeError },
    )
    const detached = new Uint8Array(8)
    structuredClone(detached.buffer, { transfer: [detached.buffer] })
    t.throws(
      () => {
        region.write(0, detached)
      },
      { instanceOf: TypeError },
    )
    region.closeWithDevice()
  })

  test(`${how}: polling`, (t) => {
    using memory = GuestMemory.create(4096)
    const region = memoryRegion(memory, { guard })
    region.write64(8, 0x1234_5678_9abc_def0n)
    t.is(region.poll32(8, { equals: 0x9abc_def0 }), 0x9abc_def0)
    t.is(region.poll32(8, { mask: 0xf0, equals: 0xf0, timeoutMicros: 0 }), 0x9abc_def0)
    t.is(region.poll32(10, { equals: 0x9abc, width: 2 }), 0x9abc)
    t.is(region.poll32(15, { equals: 0x12n, width: 1 }), 0x12)
    t.is(region.poll64(8, { mask: 0xffn << 56n, equals: 0x12n << 56n }), 0x1234_5678_9abc_def0n)
    const started = performance.now()
    const error = t.throws(() => region.poll32(8, { equals: 1, timeoutMicros: 20_000 }), {
      instanceOf: VfioError,
      code: 'ETIMEDOUT',
    })
    t.is(error.reason, 'timeout')
    t.true(performance.now() - started >= 19)
    const poll = (offset: unknown, options: unknown) => () =>
      region.poll32(offset as number, options as never)
    for (const options of [
      undefined,
      null,
      5,
      {},
      { equals: '1' },
      { equals: 1, mask: null },
      { equals: 1, timeoutMicros: 1n },
    ]) {
      t.throws(poll(8, options), { instanceOf: TypeError })
    }
    for (const options of [
      { equals: -1 },
      { equals: 2 ** 32 },
      { equals: 1n << 32n },
      { equals: 1, width: 3 },
      { equals: 1, width: 8 },
      { equals: 1, timeoutMicros: -1 },
      { equals: 1, timeoutMicros: NaN },
    ]) {
      t.throws(poll(8, options), { instanceOf: RangeError })
    }
    for (const offset of [2, -4, 4096, NaN]) t.throws(poll(offset, { equals: 1 }), { instanceOf: RangeError })
    t.throws(() => region.poll64(8, { equals: 2 ** 64 }), { instanceOf: RangeError })
    region.closeWithDevice()
  })
}

test('write-only and read-only regions, and closed ones', (t) => {
  using memory = GuestMemory.create(4096)
  const readOnly = memoryRegion(memory, { flags: { write: false } })
  const writeOnly = memoryRegion(memory, { flags: { read: false } })
  t.is(readOnly.read32(0), 0)
  writeOnly.write32(0, 1)
  t.is(readOnly.read32(0), 1)
  const refused = { instanceOf: VfioError, code: 'EACCES' }
  t.throws(() => {
    readOnly.write32(0, 1)
  }, refused)
  t.throws(() => {
    readOnly.write(0, new Uint8Array(1))
  }, refused)
  t.throws(() => writeOnly.read8(0), { ...refused, message: /write-only .* or the device has none there/ })
  t.throws(() => {
    writeOnly.read(0, new Uint8Array(1))
  }, refused)
  t.throws(() => writeOnly.poll32(0, { equals: 1 }), refused)
  const region = memoryRegion(memory)
  region.read32(0)
  region.write32(0, 1)
  region.closeWithDevice()
  region.closeWithDevice()
  const closed = { instanceOf: VfioError, code: 'EBADF' }
  for (const width of WIDTHS) {
    t.throws(() => bound(reader(width), region)(region, 0), closed)
    t.throws(() => bound(writer(width), region)(region, 0, 0), closed)
  }
  t.throws(() => {
    region.read(0, new Uint8Array(1))
  }, closed)
  t.throws(() => {
    region.write(0, new Uint8Array(1))
  }, closed)
  t.throws(() => region.poll32(0, { equals: 1 }), closed)
  t.throws(() => region.faulted, closed)
  t.throws(() => region.counters, closed)
  t.throws(() => {
    region.remap()
  }, closed)
  readOnly.closeWithDevice()
  writeOnly.closeWithDevice()
})

test('sparse areas: only they are mapped, the rest goes through the file, and both are one region', (t) => {
  using memory = GuestMemory.create(3 * 4096)
  const region = memoryRegion(memory, {
    capabilities: [{ name: 'sparseMmap', areas: [{ offset: 4096, size: 4096 }] }],
  })
  t.deepEqual(region.mmapAreas, [{ offset: 4096, size: 4096 }])
  t.deepEqual(
    [region.isMapped(4092, 4), region.isMapped(4096, 4), region.isMapped(8188, 8)],
    [false, true, false],
  )
  const source = Uint8Array.from({ length: 3 * 4096 }, (_, i) => i * 7)
  region.write(0, source)
  t.deepEqual(new Uint8Array(memory.buffer), source)
  const back = new Uint8Array(source.length)
  region.read(0, back)
  t.deepEqual(back, source)
  t.true(region.counters.fileAccesses >= 2 * 1024)
  t.is(region.counters.bulkBytes, 2 * source.length)
  t.throws(() => region.read64(0, { exact: true }), { instanceOf: VfioError, code: 'EOPNOTSUPP' })
  t.is(region.read64(4096, { exact: true }), new DataView(source.buffer).getBigUint64(4096, true))
  t.throws(() => region.read64(0, null as never), { instanceOf: TypeError })
  region.closeWithDevice()
})

test('view: memory-like regions only, and only where they are mapped', (t) => {
  using memory = GuestMemory.create(8192)
  const registers = memoryRegion(memory)
  t.is(
    t.throws(() => registers.view(0, 4), { instanceOf: VfioError, code: 'EOPNOTSUPP' }).reason,
    'not-memory-like',
  )
  const region = memoryRegion(memory, {
    memoryLike: true,
    capabilities: [{ name: 'sparseMmap', areas: [{ offset: 0, size: 4096 }] }],
  })
  const bytes = new Uint8Array(region.view(100, 50))
  bytes[0] = 3
  t.is(region.read8(100), 3)
  t.is(t.throws(() => region.view(4000, 200), { instanceOf: VfioError, code: 'EINVAL' }).reason, 'not-mapped')
  for (const [offset, length] of [
    [0, 0],
    [-1, 1],
    [0, 8193],
    [0, 1.5],
    [NaN, 1],
  ] as const) {
    t.throws(() => region.view(offset, length), { instanceOf: RangeError })
  }
  t.throws(() => region.view(0, '1' as never), { instanceOf: TypeError })
  registers.closeWithDevice()
  region.closeWithDevice()
  t.throws(() => region.view(0, 4), { instanceOf: VfioError, code: 'EBADF' })
  t.is(bytes[0], 3, 'lent through the memory, which is open')
})

test('a region that stops answering reads as all ones and drops writes until it is mapped again', (t) => {
  using memory = shrinkableMemory(2 * 4096)
  let decodes = true
  const region = memoryRegion(memory, { decodes: () => decodes })
  region.write32(0, 0x1234)
  region.write32(4096, 0x5678)
  t.false(region.faulted)
  // A page of a file that ends before it faults as a BAR does that is not decoded.
  ftruncateSync(memory.fd, 4096)
  t.is(region.read32(0), 0x1234)
  t.false(region.faulted)
  t.is(region.read32(4096), 0xffff_ffff)
  t.true(region.faulted)
  region.write32(4096, 1)
  t.is(region.read32(4096), 0xffff_ffff, 'also after a write')
  t.is(region.read8(4099), 0xff)
  t.is(region.read64(4096), 0xffff_ffff_ffff_ffffn)
  const bytes = new Uint8Array(8)
  region.read(4096, bytes)
  t.true(bytes.every((byte) => byte === 0xff))
  region.write(4096, new Uint8Array(16))
  t.is(region.poll32(4096, { equals: 0xffff_ffff }), 0xffff_ffff)
  t.throws(() => region.poll32(4096, { equals: 0, timeoutMicros: 100 }), { code: 'ETIMEDOUT' })

  decodes = false
  const error = t.throws(
    () => {
      region.remap()
    },
    { instanceOf: VfioError, code: 'EIO' },
  )
  t.is(error.reason, 'memory-decoding-off')
  t.true(region.faulted)
  decodes = true
  ftruncateSync(memory.fd, 2 * 4096)
  region.remap()
  t.false(region.faulted)
  t.is(region.read32(0), 0x1234)
  t.is(region.read32(4096), 0)
  region.write32(4096, 0x9abc)
  t.is(region.read32(4096), 0x9abc)
  // Mapped again too early: it faults anew.
  ftruncateSync(memory.fd, 0)
  region.remap()
  region.write32(0, 1)
  t.true(region.faulted)
  t.is(region.read32(0), 0xffff_ffff)
  region.closeWithDevice()
})

test('the addon keeps its own bounds of polls and bulk accesses, whoever calls it', (t) => {
  using memory = GuestMemory.create(8192)
  const region = memoryRegion(memory, { size: 4096 })
  const { native } = region
  const poll = (offset: number, width: number): unknown =>
    addon().registersPoll(native, offset, width, 0n, 0n, 0)
  for (const [offset, width] of [
    [4096, 1],
    [4096, 4],
    [4094, 4],
    [2, 4],
    [0, 3],
    [0, 0],
    [0, 16],
    [2 ** 53 - 1, 1],
  ] as const) {
    t.throws(
      () => poll(offset, width),
      { instanceOf: RangeError },
      `poll at ${String(offset)}, ${String(width)}`,
    )
  }
  t.is(poll(4092, 4), 0n)
  for (const call of [addon().registersRead, addon().registersWrite]) {
    for (const [offset, length] of [
      [4096, 1],
      [4095, 2],
      [0, 4097],
      [2 ** 53 - 1, 1],
    ] as const) {
      t.throws(
        () => {
          call(native, offset, new Uint8Array(length))
        },
        { instanceOf: RangeError },
        `${String(length)} bytes at ${String(offset)}`,
      )
    }
    t.notThrows(() => {
      call(native, 4095, new Uint8Array(1))
      call(native, 4096, new Uint8Array(0))
    })
  }
  region.closeWithDevice()
})
