// Registers of real devices: every width that a device takes, mapped and through its file, and what is refused.
import test, { type ExecutionContext } from 'ava'

import { type Region, type VfioDevice, VfioError } from '../../ts/index.js'
import { type DeviceName, EDU, EDU_ID, Edu, open, sysfs } from './devices.js'

const NVME_CAP = 0x00
const NVME_VERSION = 0x08
/** Receive Address Low 0: four bytes of the MAC address, readable and writable. */
const E1000E_RAL0 = 0x5400
const E1000E_STATUS = 0x0008

const opened = new Map<string, VfioDevice>()

async function device(name: DeviceName, { guard = true } = {}): Promise<VfioDevice> {
  const key = `${name} ${String(guard)}`
  const held = opened.get(key)
  if (held !== undefined) return held
  const other = opened.get(`${name} ${String(!guard)}`)
  // A group opens once.
  if (other !== undefined) {
    await other.close()
    opened.delete(`${name} ${String(!guard)}`)
  }
  const made = await open(name, { guard })
  opened.set(key, made)
  return made
}

test.after.always(async () => {
  for (const each of opened.values()) await each.close()
})

/** A 64-bit register put together from accesses of one width. */
function composed(region: Region, offset: number, width: 1 | 2 | 4): bigint {
  let value = 0n
  for (let at = 8 - width; at >= 0; at -= width) {
    const part =
      width === 1
        ? region.read8(offset + at)
        : width === 2
          ? region.read16(offset + at)
          : region.read32(offset + at)
    value = (value << BigInt(width * 8)) | BigInt(part)
  }
  return value
}

for (const guard of [true, false]) {
  const how = guard ? 'mapped' : 'through the file'

  test.serial(`nvme CAP at 1, 2, 4 and 8 bytes, ${how}`, async (t) => {
    const bar0 = (await device('nvme', { guard })).region('bar0')
    t.is(bar0.isMapped(NVME_CAP, 8), guard)
    const cap = bar0.read64(NVME_CAP)
    // MQES, the low 16 bits, is 0's based and at least 1; CSS has the NVM command set.
    t.true((cap & 0xffffn) >= 1n)
    t.is((cap >> 37n) & 1n, 1n)
    for (const width of [1, 2, 4] as const)
      t.is(composed(bar0, NVME_CAP, width), cap, `${String(width)} bytes`)
    t.is(bar0.read8Relaxed(NVME_CAP), Number(cap & 0xffn))
    t.is(bar0.read16Relaxed(NVME_CAP), Number(cap & 0xffffn))
    t.is(bar0.read32Relaxed(NVME_CAP), Number(cap & 0xffff_ffffn))
    t.is(bar0.read64Relaxed(NVME_CAP), cap)
    t.is(bar0.read32(NVME_VERSION) >>> 16, 1, 'NVMe 1.x')
  })

  test.serial(`e1000e at 1, 2 and 4 bytes, ${how}`, async (t) => {
    const bar0 = (await device('e1000e', { guard })).region('bar0')
    t.is(bar0.isMapped(E1000E_RAL0, 4), guard)
    const low = bar0.read32(E1000E_RAL0)
    t.not(low, 0)
    t.not(low, 0xffff_ffff)
    t.is(bar0.read16(E1000E_RAL0), low & 0xffff)
    t.is(bar0.read16Relaxed(E1000E_RAL0), low & 0xffff)
    t.is(bar0.read8(E1000E_RAL0), low & 0xff)
    t.is(bar0.read8Relaxed(E1000E_RAL0), low & 0xff)
    bar0.write32(E1000E_RAL0, 0x1234_5678)
    t.is(bar0.read32(E1000E_RAL0), 0x1234_5678)
    bar0.write32Relaxed(E1000E_RAL0, low)
    t.is(bar0.read32Relaxed(E1000E_RAL0), low)
  })

  test.serial(`edu takes 4 bytes and nothing else, ${how}`, async (t) => {
    const bar0 = (await device('edu', { guard })).region('bar0')
    t.is(bar0.read32(EDU.id), EDU_ID)
    bar0.write32(EDU.liveness, 0x1357_9bdf)
    t.is(bar0.read32(EDU.liveness), ~0x1357_9bdf >>> 0)
    bar0.write32Relaxed(EDU.liveness, 0xffff_ffff)
    t.is(bar0.read32Relaxed(EDU.liveness), 0)
    t.is(bar0.read8(EDU.id), 0)
    t.is(bar0.read16(EDU.id), 0)
    // Through the file the kernel makes two accesses of 4 bytes of it, which the device takes.
    if (guard) t.is(bar0.read64(EDU.id), 0xffff_ffff_ffff_ffffn)
  })

  test.serial(`factorials, ${how}`, async (t) => {
    const edu = new Edu(await device('edu', { guard }))
    t.deepEqual(
      [1, 5, 10, 12].map((n) => edu.factorial(n)),
      [1, 120, 3_628_800, 479_001_600],
    )
  })

  test.serial(`memory of ivshmem at every width, ${how}`, async (t) => {
    const bar2 = (await device('ivshmem', { guard })).region('bar2')
    t.is(bar2.size, 1 << 20)
    t.is(bar2.isMapped(0, bar2.size), guard)
    bar2.write64(64, 0x8877_6655_4433_2211n)
    t.is(bar2.read64(64), 0x8877_6655_4433_2211n)
    t.is(bar2.read32(64), 0x4433_2211)
    t.is(bar2.read16(66), 0x4433)
    t.is(bar2.read8(71), 0x88)
    bar2.write8(64, 0xaa)
    bar2.write16(66, 0xbbcc)
    bar2.write32(68, 0xddee_ff00)
    t.is(bar2.read64(64), 0xddee_ff00_bbcc_22aan)
    bar2.write8Relaxed(64, 1)
    bar2.write16Relaxed(66, 2)
    bar2.write32Relaxed(68, 3)
    t.is(bar2.read64Relaxed(64), 0x0000_0003_0002_2201n)
    bar2.write64Relaxed(bar2.size - 8, 5n)
    t.is(bar2.read64(bar2.size - 8), 5n)
  })

  test.serial(`bulk read and write of any offset and length, ${how}`, async (t) => {
    const bar2 = (await device('ivshmem', { guard })).region('bar2')
    for (const [offset, length] of [
      [0, 1],
      [3, 21],
      [8, 64],
      [4093, 4101],
      [bar2.size - 7, 7],
    ] as const) {
      const before = new Uint8Array(length + 2).fill(0x55)
      const start = Math.max(0, offset - 1)
      const padded = before.subarray(0, Math.min(before.length, bar2.size - start))
      bar2.write(start, padded)
      const sent = Uint8Array.from({ length }, (_, i) => (i * 7 + offset) & 0xff)
      bar2.write(offset, sent)
      const back = new Uint8Array(length)
      bar2.read(offset, back)
      t.deepEqual(back, sent, `${String(length)} bytes at ${String(offset)}`)
      const around = new Uint8Array(padded.length)
      bar2.read(start, around)
      if (offset > 0) t.is(around[0], 0x55)
      if (offset + length < start + padded.length) t.is(around[around.length - 1], 0x55)
    }
    const words = Uint32Array.of(1, 2, 3, 4)
    bar2.write(0x100, words)
    t.deepEqual(
      [0x100, 0x104, 0x108, 0x10c].map((offset) => bar2.read32(offset)),
      [1, 2, 3, 4],
    )
    bar2.read(0x100, new DataView(new ArrayBuffer(4)))
    t.is(bar2.counters.bulkBytes > 0, true)
  })

  test.serial(`bulk read of registers equals single reads, ${how}`, async (t) => {
    const bar0 = (await device('nvme', { guard })).region('bar0')
    const bytes = new Uint32Array(4)
    bar0.read(0, bytes)
    t.deepEqual(
      [...bytes],
      [0, 4, 8, 12].map((offset) => bar0.read32(offset)),
    )
    const odd = new Uint8Array(5)
    bar0.read(3, odd)
    t.deepEqual(
      [...odd],
      [3, 4, 5, 6, 7].map((offset) => bar0.read8(offset)),
    )
  })

  test.serial(`poll32, poll64 and other widths, ${how}`, async (t) => {
    const bar0 = (await device('edu', { guard })).region('bar0')
    bar0.write32(EDU.factorial, 6)
    bar0.poll32(EDU.status, { mask: 1, equals: 0, timeoutMicros: 5_000_000 })
    t.is(bar0.poll32(EDU.factorial, { equals: 720 }), 720)
    const started = performance.now()
    const error = t.throws(() => bar0.poll32(EDU.id, { mask: 0xff, equals: 0xee, timeoutMicros: 50_000 }), {
      instanceOf: VfioError,
    })
    const took = performance.now() - started
    t.is(error.code, 'ETIMEDOUT')
    t.is(error.reason, 'timeout')
    t.true(took >= 49 && took < 5000, `${String(took)} ms`)
    const nvme = (await device('nvme', { guard })).region('bar0')
    const cap = nvme.read64(NVME_CAP)
    t.is(nvme.poll64(NVME_CAP, { mask: 0xffffn, equals: cap & 0xffffn }), cap)
    t.is(nvme.poll32(NVME_CAP, { width: 2, equals: Number(cap & 0xffffn) }), Number(cap & 0xffffn))
    t.is(nvme.poll32(NVME_CAP, { width: 1, equals: Number(cap & 0xffn) }), Number(cap & 0xffn))
  })

  test.serial(`what is refused before the device sees it, ${how}`, async (t) => {
    const bar0 = (await device('edu', { guard })).region('bar0')
    refusals(t, bar0)
  })
}

function refusals(t: ExecutionContext, bar0: Region): void {
  const range = { instanceOf: RangeError }
  const type = { instanceOf: TypeError }
  t.throws(() => bar0.read16(1), range)
  t.throws(() => bar0.read32(2), range)
  t.throws(() => bar0.read64(4), range)
  t.throws(() => bar0.write16(1, 0), range)
  t.throws(() => bar0.write32(6, 0), range)
  t.throws(() => bar0.write64(12, 0n), range)
  t.throws(() => bar0.read8(bar0.size), range)
  t.throws(() => bar0.read32(bar0.size), range)
  t.throws(() => bar0.read64(bar0.size - 4), range)
  t.throws(() => bar0.read32(-4), range)
  t.throws(() => bar0.read32(0.5), range)
  t.throws(() => bar0.read32(NaN), range)
  t.throws(() => bar0.read32(2 ** 53), range)
  t.throws(() => bar0.write8(0, 256), range)
  t.throws(() => bar0.write16(0, 65536), range)
  t.throws(() => bar0.write32(4, 2 ** 32), range)
  t.throws(() => bar0.write32(4, -1), range)
  t.throws(() => bar0.write32(4, 1.5), range)
  t.throws(() => bar0.write64(0, -1n), range)
  t.throws(() => bar0.write64(0, 1n << 64n), range)
  t.throws(() => bar0.read32('0' as never), type)
  t.throws(() => bar0.read32(0n as never), type)
  t.throws(() => bar0.write32(4, '1' as never), type)
  t.throws(() => bar0.write32(4, 1n as never), type)
  t.throws(() => bar0.write64(0, 1 as never), type)
  t.throws(() => bar0.read(0, new ArrayBuffer(4) as never), type)
  t.throws(() => bar0.read(bar0.size - 4, new Uint8Array(5)), range)
  t.throws(() => bar0.write(bar0.size, new Uint8Array(1)), range)
  t.throws(() => bar0.poll32(2, { equals: 0 }), range)
  t.throws(() => bar0.poll32(0, { equals: 2 ** 32 }), range)
  t.throws(() => bar0.poll32(0, { equals: 0, width: 8 as never }), range)
  t.throws(() => bar0.poll32(0, { equals: 0, timeoutMicros: -1 }), range)
  t.throws(() => bar0.poll32(0, undefined as never), type)
  t.is(bar0.read32(0), EDU_ID)
}

test.serial('accesses through the file are counted', async (t) => {
  const mapped = (await device('edu')).region('bar0')
  const before = mapped.counters.fileAccesses
  mapped.read32(0)
  t.is(mapped.counters.fileAccesses, before)
  const plain = (await device('edu', { guard: false })).region('bar0')
  t.deepEqual(plain.mmapAreas, [])
  const first = plain.counters.fileAccesses
  plain.read32(0)
  plain.write32(EDU.liveness, 1)
  t.is(plain.counters.fileAccesses, first + 2)
})

test.serial('an exact 64-bit access is refused where the kernel may split it', async (t) => {
  const mapped = (await device('nvme')).region('bar0')
  t.is(mapped.read64(NVME_CAP, { exact: true }), mapped.read64(NVME_CAP))
  const plain = (await device('nvme', { guard: false })).region('bar0')
  const error = t.throws(() => plain.read64(NVME_CAP, { exact: true }), { instanceOf: VfioError })
  t.is(error.code, 'EOPNOTSUPP')
  t.is(error.reason, 'not-mapped')
  t.throws(() => plain.write64(NVME_CAP, 0n, { exact: true }), { instanceOf: VfioError })
  t.notThrows(() => plain.read64(NVME_CAP, { exact: false }))
})

test.serial('I/O ports of e1000e: registers through an index and a data port', async (t) => {
  const e1000e = await device('e1000e')
  e1000e.config.command.ioSpace = true
  const ports = e1000e.region('bar2')
  t.is(ports.size, 32)
  t.false(ports.flags.mmap)
  t.deepEqual(ports.mmapAreas, [])
  ports.write32(0, E1000E_STATUS)
  t.is(ports.read32(0), E1000E_STATUS)
  t.is(ports.read32(4), e1000e.region('bar0').read32(E1000E_STATUS))
  ports.write32(0, E1000E_RAL0)
  t.is(ports.read32(4), e1000e.region('bar0').read32(E1000E_RAL0))
})

test.serial('I/O ports and memory of pci-testdev: a test of each, by its name', async (t) => {
  const testdev = await device('testdev')
  testdev.config.command.ioSpace = true
  for (const [bar, prefix] of [
    ['bar0', 'mmio'],
    ['bar1', 'portio'],
  ] as const) {
    const region = testdev.region(bar)
    region.write8(0, 0)
    const name = new Uint8Array(32)
    region.read(16, name)
    const text = Buffer.from(name).toString('latin1').split('\0')[0] ?? ''
    t.true(text.startsWith(`${prefix}-`), `${bar}: ${text}`)
    const offset = region.read32(4)
    const data = region.read8(8)
    const before = region.read32(12)
    if (region.read8(1) === 1) region.write8(offset, data)
    else if (region.read8(1) === 2) region.write16(offset, data)
    else region.write32(offset, data)
    t.is(region.read32(12), before + 1, `${bar}: the test counted a write`)
  }
})

test.serial('a view of memory, and none of registers', async (t) => {
  const bar2 = (await device('ivshmem')).region('bar2')
  const view = new Uint8Array(bar2.view(4096, 8192))
  t.is(view.length, 8192)
  bar2.write32(4096, 0x0403_0201)
  t.deepEqual([...view.subarray(0, 4)], [1, 2, 3, 4])
  view[8191] = 0x7f
  t.is(bar2.read8(4096 + 8191), 0x7f)
  t.throws(() => bar2.view(bar2.size - 4096, 8192), { instanceOf: RangeError })
  t.throws(() => bar2.view(0, 0), { instanceOf: RangeError })
  const { bar0 } = new Edu(await device('edu'))
  const error = t.throws(() => bar0.view(0, 4096), { instanceOf: VfioError })
  t.is(error.code, 'EOPNOTSUPP')
  t.is(error.reason, 'not-memory-like')
  const plain = (await device('ivshmem', { guard: false })).region('bar2')
  t.is(view.length, 0, 'detached with its device')
  t.is(plain.read8(4096 + 8191), 0x7f)
  t.is(t.throws(() => plain.view(0, 4096), { instanceOf: VfioError }).reason, 'not-mapped')
})

test.serial('a region smaller than a page', async (t) => {
  const bar0 = (await device('ivshmem')).region('bar0')
  t.is(bar0.size, 256)
  // What is mapped of it, if anything, never reaches beyond the page that holds it.
  for (const { offset, size } of bar0.mmapAreas) t.true(offset === 0 && size <= 4096)
  // IVPosition: the id that the server gave.
  const position = bar0.read32(8)
  t.true(position < 0xffff)
  t.throws(() => bar0.read32(256), { instanceOf: RangeError })
})

test.serial(
  'the MSI-X table is not mapped unless the kernel says that it may be, and is read through the file',
  async (t) => {
    for (const name of ['nvme', 'e1000e', 'ivshmem'] as const) {
      const { config } = await device(name)
      const msix = config.capability('msix')
      if (msix === null) {
        t.fail(`${name} has no MSI-X`)
        continue
      }
      const { table } = msix
      const region = (await device(name)).region(table.bar)
      const mappable = region.capabilities.some((capability) => capability.name === 'msixMappable')
      const covered = region.mmapAreas.some(
        (area) => area.offset < table.offset + table.size && table.offset < area.offset + area.size,
      )
      t.true(mappable || !covered, `${name}: ${JSON.stringify(region.mmapAreas)} covers the table`)
      t.notThrows(() => {
        for (let offset = 0; offset < table.size; offset += 4) region.read32(table.offset + offset)
      })
      // The kernel has the table while MSI-X is off: vectors are as after power-up, masked.
      t.is(region.read32(table.offset + 12) & 1, 1, name)
    }
  },
)

test.serial('regions: which there are, and their sizes as sysfs has them', async (t) => {
  for (const name of ['edu', 'e1000e', 'nvme', 'ivshmem', 'testdev'] as const) {
    const each = await device(name)
    const resources = sysfs(name, 'resource').split('\n')
    for (let bar = 0; bar < 6; bar++) {
      const [start, end] = (resources[bar] ?? '').split(' ').map((text) => Number(text))
      const size = start === 0 && end === 0 ? 0 : Number(end) - Number(start) + 1
      t.is(each.region(bar).size, size, `${name} BAR ${String(bar)}`)
    }
    t.is(each.region('config').size, name === 'e1000e' || name === 'nvme' ? 4096 : 256)
    t.is(each.region('bar0'), each.region(0))
    t.deepEqual(
      each.regions().map((region) => region.name),
      each
        .regions()
        .filter(({ size }) => size > 0)
        .map(({ name: own }) => own),
    )
  }
})

test.serial('indices and names that are no region', async (t) => {
  const edu = await device('edu')
  for (const index of [9, 100]) {
    const error = t.throws(() => edu.region(index), { instanceOf: VfioError })
    t.is(error.code, 'EINVAL')
    t.is(error.syscall, 'VFIO_DEVICE_GET_REGION_INFO')
    t.regex(error.message, new RegExp(`region${String(index)} of ${edu.name}`))
  }
  t.throws(() => edu.region(-1), { instanceOf: RangeError })
  t.throws(() => edu.region(1.5), { instanceOf: RangeError })
  t.throws(() => edu.region('bar6' as never), { instanceOf: TypeError })
  t.is(edu.region('bar1').size, 0)
  t.throws(() => edu.region('bar1').read8(0), { any: true })
  t.throws(() => edu.region(undefined as never), { any: true })
})
