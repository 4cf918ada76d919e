// Region of a device that no kernel stands behind: every access, bulk copies, polling, views, and a device that stops answering.
import test from 'ava'

import { VfioError } from '../../../../ts/index.js'
import { fakeDevice } from '../../../fakes/device.js'

const WIDTHS = [8, 16, 32, 64] as const

test('every width reads and writes little-endian, and nothing beside it', (t) => {
  const { device, hardware } = fakeDevice()
  const region = device.region('bar0')
  t.is(region, device.region(0))
  const view = new DataView(hardware.bytes(0).buffer)
  for (const form of ['', 'Relaxed'] as const) {
    region[`write64${form}`](0, 0x1122_3344_5566_7788n)
    t.is(view.getBigUint64(0, true), 0x1122_3344_5566_7788n)
    t.is(region[`read64${form}`](0), 0x1122_3344_5566_7788n)
    t.is(region[`read32${form}`](4), 0x1122_3344)
    t.is(region[`read16${form}`](2), 0x5566)
    t.is(region[`read8${form}`](7), 0x11)
    region[`write32${form}`](0, 0xffff_ffff)
    region[`write16${form}`](2, 0)
    region[`write8${form}`](0, 0xa0)
    t.is(view.getBigUint64(0, true), 0x1122_3344_0000_ffa0n)
  }
  for (const width of WIDTHS) {
    const read = (offset: number) => () => region[`read${width}`](offset)
    t.throws(read(region.size), { instanceOf: RangeError })
    if (width > 8) t.throws(read(1), { instanceOf: RangeError, message: /multiple/ })
  }
  device[Symbol.dispose]()
})

test('what is mapped is planned as for the kernel: not the MSI-X table, not what has no mmap', (t) => {
  const { device } = fakeDevice()
  const region = device.region('bar0')
  t.deepEqual(region.mmapAreas, [{ offset: 0, size: 4096 }])
  t.deepEqual([region.isMapped(4092, 4), region.isMapped(4096, 4)], [true, false])
  t.deepEqual(device.region('config').mmapAreas, [])
  t.deepEqual(
    device.regions().map(({ name }) => name),
    ['bar0', 'bar2', 'config'],
  )
  region.read32(0)
  t.is(region.counters.fileAccesses, 0)
  region.read32(4096)
  t.is(region.counters.fileAccesses, 1)
  t.throws(() => region.read64(4096, { exact: true }), { instanceOf: VfioError, code: 'EOPNOTSUPP' })
  t.is(region.read64(0, { exact: true }), 0n)
  t.throws(() => device.region(9), { instanceOf: VfioError, code: 'EINVAL', message: /region9 of the fake/ })
  device[Symbol.dispose]()
})

test('bulk copies and polling', (t) => {
  const { device, hardware } = fakeDevice()
  const region = device.region('bar0')
  const source = Uint8Array.from({ length: 100 }, (_, i) => i + 1)
  region.write(3, source)
  t.deepEqual(hardware.bytes(0).slice(3, 103), source)
  const target = new Uint8Array(100)
  region.read(3, target)
  t.deepEqual(target, source)
  t.is(region.counters.bulkBytes, 200)
  const outside = () => {
    region.read(8192 - 4, new Uint8Array(5))
  }
  t.throws(outside, { instanceOf: RangeError })
  region.write64(8, 0x1234_5678_9abc_def0n)
  t.is(region.poll32(8, { mask: 0xf0, equals: 0xf0 }), 0x9abc_def0)
  t.is(region.poll64(8, { mask: 0xffn << 56n, equals: 0x12n << 56n }), 0x1234_5678_9abc_def0n)
  const timeout = () => region.poll32(8, { equals: 1, timeoutMicros: 1000 })
  t.is(t.throws(timeout, { instanceOf: VfioError, code: 'ETIMEDOUT' }).reason, 'timeout')
  device[Symbol.dispose]()
})

test('a view shows memory, and only memory', (t) => {
  const { device, hardware } = fakeDevice()
  const memory = device.region('bar2')
  t.true(memory.memoryLike)
  new Uint8Array(memory.view(0, 4096))[5] = 7
  t.is(hardware.bytes(2)[5], 7)
  const registers = () => device.region('bar0').view(0, 4096)
  t.is(t.throws(registers, { instanceOf: VfioError }).reason, 'not-memory-like')
  device[Symbol.dispose]()
  t.throws(() => memory.view(0, 4096), { instanceOf: VfioError, code: 'EBADF' })
})

test('a device that stops answering reads as all ones until it is mapped again', (t) => {
  const { device, hardware } = fakeDevice()
  const region = device.region('bar0')
  region.write32(0, 5)
  hardware.answers = false
  t.is(region.read32(0), 0xffff_ffff)
  t.true(region.faulted)
  hardware.answers = true
  region.write32(0, 6)
  t.is(region.read32(0), 0xffff_ffff, 'faulted it stays')
  device.config.command.memorySpace = false
  t.is(device.condition, 'memory-decoding-off')
  const remap = () => {
    region.remap()
  }
  t.is(t.throws(remap, { instanceOf: VfioError, code: 'EIO' }).reason, 'memory-decoding-off')
  device.config.command.memorySpace = true
  region.remap()
  t.false(region.faulted)
  t.is(region.read32(0), 5)
  device[Symbol.dispose]()
})

test('closing the device turns its DMA off and refuses every access', async (t) => {
  const { device, hardware } = fakeDevice()
  const region = device.region('bar0')
  device.config.command.busMaster = true
  t.true(hardware.busMaster)
  await device.close()
  t.false(hardware.busMaster)
  t.true(device.addressSpace.closed)
  const closed = { instanceOf: VfioError, code: 'EBADF' }
  t.throws(() => region.read32(0), closed)
  t.throws(() => region.faulted, closed)
  t.throws(() => device.region('bar2'), closed)
  t.throws(() => device.condition, closed)
})

test('what is nowhere mapped in this process is shown to nobody else', (t) => {
  const { device } = fakeDevice()
  const region = device.region('bar2')
  t.is(t.throws(() => region.native, { instanceOf: VfioError, code: 'EINVAL' }).reason, 'not-mapped')
  t.throws(() => device.addressSpace.mapSync(region), { instanceOf: VfioError, code: 'EINVAL' })
  device[Symbol.dispose]()
})
