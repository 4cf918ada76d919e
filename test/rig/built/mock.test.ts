// Hardware page tables, vIOMMUs and queues on the mock devices of the kernel's own iommufd tests (CONFIG_IOMMUFD_TEST), which
// can do what QEMU's IOMMU cannot.
import test from 'ava'

import {
  AddressSpace,
  EventQueue,
  FaultQueue,
  GuestMemory,
  HwQueue,
  Hwpt,
  Iommufd,
  SignalPoller,
  Vdevice,
  VfioError,
  Viommu,
} from '../../../ts/index.js'
import { hwInfo } from '../../../ts/iommu/iommufd/hw-info.js'
import { tablesFor } from '../../../ts/iommu/iommufd/tracking-tables.js'
import { type NativeHandle, addon } from '../../../ts/native/index.js'
import { until } from '../devices.js'
import {
  APERTURE,
  HAS_PASID,
  MOCK_PAGE,
  Mock,
  NESTED,
  NO_DIRTY,
  PAGE,
  SELFTEST,
  VEVENT_SELFTEST,
  marked,
  withMock,
} from './mock.js'

test.serial('what the IOMMU behind a device can do', async (t) => {
  await withMock((mock) => {
    const info = hwInfo(mock)
    t.is(info.type, 0xfeedbeef)
    t.is(new DataView(info.data.buffer).getUint32(4, true), SELFTEST)
    t.true(info.capabilities.dirtyTracking)
    // Of a kind that is asked for: its own, and one that it does not have.
    t.deepEqual(hwInfo(mock, info.type), info)
    t.is(t.throws(() => hwInfo(mock, 1), { instanceOf: VfioError }).code, 'EOPNOTSUPP')
  })
})

test.serial('a space narrows with its device: its aperture is what can be mapped', async (t) => {
  await withMock(async (_mock, space) => {
    t.is(space.iovaRanges[0]?.start, APERTURE)
    t.is(space.pageSizes[0], BigInt(PAGE))
    await using buffer = await space.allocate(PAGE)
    t.is(buffer.iova, APERTURE)
    await t.throwsAsync(space.allocate(PAGE, { iova: 0x1000n }), { instanceOf: RangeError })
    t.throws(() => space.allowIovas([{ start: 0n, last: APERTURE }]), { instanceOf: VfioError })
  })
})

test.serial('dirty tracking: marks are read, left or taken, and refused where not allocated', async (t) => {
  await withMock(async (mock, space) => {
    // A mark is one of an entry, and memory that lies together would be one entry.
    space.hugePages = false
    await using buffer = await space.allocate(16 * PAGE)
    using plain = Hwpt.allocate(mock, space)
    t.is(
      t.throws(
        () => {
          plain.dirtyTracking.start()
        },
        { instanceOf: VfioError },
      ).code,
      'EOPNOTSUPP',
    )
    using hwpt = Hwpt.allocate(mock, space, { dirtyTracking: true })
    hwpt.dirtyTracking.start()
    const read = (options?: { clear: boolean }): number[] =>
      marked(hwpt.dirtyTracking.bitmap(buffer.iova, 16 * PAGE, MOCK_PAGE, options))
    t.deepEqual(read(), [])
    t.is(mock.dirty(hwpt.id, buffer.iova, 16 * PAGE, [0, 2, 30]), 3)
    t.deepEqual(read({ clear: false }), [0, 2, 30])
    t.deepEqual(read(), [0, 2, 30])
    t.deepEqual(read(), [])
    // Coarser pages: one mark stands for two of the IOMMU's.
    mock.dirty(hwpt.id, buffer.iova, 16 * PAGE, [3, 30])
    t.deepEqual(marked(hwpt.dirtyTracking.bitmap(buffer.iova, 16 * PAGE, PAGE)), [1, 15])
    // Starting anew forgets.
    mock.dirty(hwpt.id, buffer.iova, 16 * PAGE, [7])
    hwpt.dirtyTracking.start()
    t.deepEqual(read(), [])
    hwpt.dirtyTracking.stop()
    t.throws(() => hwpt.dirtyTracking.bitmap(buffer.iova, 3, MOCK_PAGE), { instanceOf: RangeError })
  })
})

/** Puts a device into its space as VfioDevice does; the page table is the caller's to let go. */
function join(mock: Mock, space: AddressSpace): NativeHandle {
  for (const table of tablesFor(space.native, mock.iommufdId, null)) {
    try {
      mock.attach(addon().iommufdObjectId(table))
      return table
    } catch (error) {
      addon().handleRelease(table, false)
      if (!(error instanceof VfioError) || error.code !== 'EINVAL') throw error
    }
  }
  throw new Error('no page table was taken')
}

test.serial('an address space tracks dirty pages over all of its devices, late ones too', async (t) => {
  using iommufd = Iommufd.open()
  await using space = AddressSpace.open({ iommufd, dirtyTracking: true })
  space.hugePages = false
  await using buffer = await space.allocate(16 * PAGE, { iova: APERTURE })
  const { dirtyTracking } = space
  const pages = (): number[] => marked(dirtyTracking.bitmap(buffer.iova, 16 * PAGE, PAGE))
  const early = t.throws(pages, { instanceOf: VfioError })
  t.is(early.code, 'EINVAL')
  t.regex(early.remedy ?? '', /start\(\)/)

  const first = new Mock(space)
  const table = join(first, space)
  const id = addon().iommufdObjectId(table)
  dirtyTracking.start()
  first.dirty(id, buffer.iova, 16 * PAGE, [0, 9])
  dirtyTracking.start()
  t.deepEqual(pages(), [0, 4], 'starting what runs keeps the marks')
  t.deepEqual(pages(), [], 'reading clears')

  // A device of the same kind shares the page table; the tracking that runs is not begun anew.
  const second = new Mock(space)
  first.dirty(id, buffer.iova, 16 * PAGE, [4])
  const shared = join(second, space)
  t.is(addon().iommufdObjectId(shared), id)
  t.deepEqual(pages(), [2])

  // From another environment's view of the space, that is by its token.
  const claimed = AddressSpace.claim(space.share())
  first.dirty(id, buffer.iova, 16 * PAGE, [6])
  t.deepEqual(marked(claimed.dirtyTracking.bitmap(buffer.iova, 16 * PAGE, PAGE)), [3])
  await claimed.close()

  // A device whose IOMMU cannot is refused, and leaves the others as they are.
  const unable = new Mock(space, NO_DIRTY)
  const refused = t.throws(() => join(unable, space), { instanceOf: VfioError })
  t.is(refused.code, 'EOPNOTSUPP')
  t.is(refused.syscall, 'IOMMU_HWPT_ALLOC')
  t.regex(refused.remedy ?? '', /cannot track/)
  first.dirty(id, buffer.iova, 16 * PAGE, [1])
  t.deepEqual(pages(), [0])

  // A table that joins while tracking runs does so from its first moment, and the marks of all tables count.
  using own = Hwpt.allocate(second, space, { dirtyTracking: true })
  addon().ioasAddTable(space.native, own.native)
  own.dirtyTracking.start()
  second.attach(own.id)
  first.dirty(id, buffer.iova, 16 * PAGE, [10])
  second.dirty(own.id, buffer.iova, 16 * PAGE, [12])
  t.deepEqual(pages(), [5, 6])

  // The marks of what is unmapped come with it.
  using memory = GuestMemory.create(4 * PAGE)
  const iova = await space.map(memory, { iova: APERTURE + 0x10_0000n })
  first.dirty(id, iova, 4 * PAGE, [2])
  t.deepEqual(marked(dirtyTracking.unmap(iova, 4 * PAGE, PAGE)), [1])
  t.is(await space.unmap(iova, 4 * PAGE), 0n)

  dirtyTracking.stop()
  t.is(t.throws(pages, { instanceOf: VfioError }).code, 'EINVAL')
  for (const mock of [first, second, unable]) mock.close()
  for (const each of [table, shared]) addon().handleRelease(each, false)
})

test.serial('a table that is made while tracking runs tracks at once', async (t) => {
  using iommufd = Iommufd.open()
  await using space = AddressSpace.open({ iommufd, dirtyTracking: true })
  space.hugePages = false
  await using buffer = await space.allocate(2 * PAGE, { iova: APERTURE })
  space.dirtyTracking.start()
  t.deepEqual(marked(space.dirtyTracking.bitmap(buffer.iova, 2 * PAGE, PAGE)), [], 'no device, no mark')
  const mock = new Mock(space)
  const table = join(mock, space)
  t.is(mock.dirty(addon().iommufdObjectId(table), buffer.iova, 2 * PAGE, [3]), 1)
  t.deepEqual(marked(space.dirtyTracking.bitmap(buffer.iova, 2 * PAGE, PAGE)), [1])
  mock.close()
  addon().handleRelease(table, false)
})

test.serial('an address space that was not opened for it tracks nothing, and says how', async (t) => {
  await withMock((_mock, space) => {
    for (const call of [
      () => {
        space.dirtyTracking.start()
      },
      () => {
        space.dirtyTracking.stop()
      },
      () => space.dirtyTracking.bitmap(APERTURE, PAGE, PAGE),
      () => space.dirtyTracking.unmap(APERTURE, PAGE, PAGE),
    ]) {
      const refused = t.throws(call, { instanceOf: VfioError })
      t.is(refused.code, 'EOPNOTSUPP')
      t.regex(refused.remedy ?? '', /dirtyTracking: true/)
    }
  })
})

test.serial('nesting: a parent, a page table of the guest in it, and its invalidation', async (t) => {
  await withMock((mock, space) => {
    using parent = Hwpt.allocate(mock, space, { nestParent: true })
    const nested = Hwpt.allocate(mock, parent, { data: NESTED })
    t.not(nested.id, parent.id)
    for (let index = 0; index < 4; index++) mock.iotlb(nested, index, 0xbadbeef)
    const entry = Uint32Array.of(0, 2)
    t.is(nested.invalidate({ type: SELFTEST, bytes: new Uint8Array(entry.buffer) }, 8), 1)
    mock.iotlb(nested, 2, 0)
    mock.iotlb(nested, 1, 0xbadbeef)
    t.throws(() => nested.invalidate({ type: 1, bytes: new Uint8Array(8) }, 8), { instanceOf: VfioError })
    t.throws(() => nested.invalidate({ type: SELFTEST, bytes: new Uint8Array(9) }, 8), {
      instanceOf: RangeError,
    })
    nested.close()
  })
  await withMock((mock, space) => {
    using flat = Hwpt.allocate(mock, space)
    t.throws(() => Hwpt.allocate(mock, flat, { data: NESTED }), { instanceOf: VfioError })
    t.throws(() => Hwpt.allocate({ addressSpace: space, iommufdId: null }, space), {
      instanceOf: TypeError,
    })
  })
})

test.serial('a page request is read with what it asks for, and answered', async (t) => {
  await withMock(async (mock, space) => {
    using parent = Hwpt.allocate(mock, space, { nestParent: true })
    const queue = FaultQueue.allocate(space.iommufd as Iommufd)
    t.deepEqual(queue.read(), [])
    const nested = Hwpt.allocate(mock, parent, { data: NESTED, faultQueue: queue })
    t.throws(
      () => {
        queue.respond(99, 'success')
      },
      { instanceOf: VfioError },
    )
    t.throws(
      () => {
        queue.respond(99, 'maybe' as never)
      },
      { instanceOf: TypeError },
    )
    mock.attach(nested.id)
    mock.pageRequest(0x1234_5000n)
    const [request] = queue.read()
    t.like(request, {
      deviceId: mock.iommufdId,
      pasid: null,
      group: 7,
      read: true,
      write: true,
      execute: false,
      address: 0x1234_5000n,
    })
    queue.respond(request?.cookie ?? 0, 'success')
    t.deepEqual(queue.read(), [])
    // Privileged, to execute, and not to be had.
    mock.pageRequest(0x5000n, 0b1100)
    const [second] = queue.read()
    t.like(second, { read: false, write: false, execute: true, privileged: true, address: 0x5000n })
    queue.respond(second?.cookie ?? 0, 'invalid')
    // By one of the device's processes.
    mock.pageRequest(0x7000n, 1, 5)
    const [third] = queue.read()
    t.like(third, { pasid: 5, read: true, write: false, address: 0x7000n })
    queue.respond(third?.cookie ?? 0, 'success')
    t.deepEqual(queue.read(), [])
    mock.attach(space.ioasId as number)
    nested.close()
    queue.close()
  })
})

test.serial('a vIOMMU: its data, its devices, its hardware queues, its events on a poller', async (t) => {
  await withMock(async (mock, space) => {
    using parent = Hwpt.allocate(mock, space, { nestParent: true })
    const given = new Uint8Array(Uint32Array.of(0x1234, 0, 0, 0, 0, 0).buffer)
    const viommu = Viommu.allocate(mock, parent, { type: SELFTEST, data: given })
    t.is(new DataView((viommu.data as Uint8Array).buffer).getUint32(4, true), 0x1234, 'what the kernel wrote')
    const nested = Hwpt.allocate(mock, viommu, { data: NESTED })
    const vdevice = Vdevice.allocate(viommu, mock, 0x99n)
    t.throws(() => Vdevice.allocate(viommu, mock, 0x99n), { instanceOf: VfioError, code: 'EEXIST' })

    const queue = EventQueue.allocate(viommu, { type: VEVENT_SELFTEST, depth: 2, entryLength: 4 })
    t.deepEqual(queue.read(), [])
    const poller = new SignalPoller()
    const seen: number[] = []
    const stop = queue.listen(poller, ({ sequence, lost, data }) => {
      if (!lost) seen.push(sequence, new DataView(data.buffer).getUint32(data.byteOffset, true))
    })
    mock.attach(nested.id)
    mock.event()
    await until(() => seen.length === 2, 'an event')
    t.deepEqual(seen, [0, 0x99])
    stop()
    for (let i = 0; i < 3; i++) mock.event()
    const rest = queue.read()
    t.true(
      rest.some(({ lost }) => lost),
      'the queue holds two',
    )
    poller.close()
    queue.close()
    mock.attach(space.ioasId as number)

    await using memory = await space.allocate(PAGE)
    const hwQueue = HwQueue.allocate(viommu, {
      type: SELFTEST,
      index: 0,
      iova: memory.iova,
      length: BigInt(PAGE),
    })
    t.throws(
      () =>
        HwQueue.allocate(viommu, { type: SELFTEST, index: 1, iova: memory.iova + 64n, length: 1n << 40n }),
      { instanceOf: VfioError },
    )
    hwQueue.close()
    vdevice.close()
    nested.close()
    viommu.close()
  })
})

test.serial('copies between spaces of one iommufd, options, and a change of process', async (t) => {
  await withMock(async (_mock, space) => {
    const iommufd = space.iommufd as Iommufd
    const other = AddressSpace.open({ iommufd })
    using memory = GuestMemory.create(4 * PAGE)
    const iova = await space.mapFile(memory)
    const there = await other.copy(space, iova, 4 * PAGE, { iova: 0x8000_0000n })
    t.is(there, 0x8000_0000n)
    t.is(other.mappingCount, 1)
    await t.throwsAsync(other.copy(space, iova + 0x100_0000n, PAGE), {
      instanceOf: VfioError,
      code: 'ENOENT',
    })
    iommufd.changeProcess()
    const mapped = space.mapSync(memory)
    const refused = t.throws(
      () => {
        iommufd.changeProcess()
      },
      { instanceOf: VfioError },
    )
    t.is(refused.code, 'EINVAL')
    t.is(space.unmapSync(mapped, 4 * PAGE), BigInt(4 * PAGE))
    t.is(await space.unmap(iova, 4 * PAGE), BigInt(4 * PAGE))
    t.is(other.unmapAll(), BigInt(4 * PAGE))
    t.true(other.hugePages)
    other.hugePages = false
    t.false(other.hugePages)
    iommufd.compatibilityIoas = other.ioasId
    t.is(iommufd.compatibilityIoas, other.ioasId)
    iommufd.compatibilityIoas = null
    t.is(iommufd.compatibilityIoas, null)
    await other.close()
  })
})

test.serial('what is unmapped is whole mappings, and a copy may lie in the same space', async (t) => {
  await withMock(async (_mock, space) => {
    using memory = GuestMemory.create(4 * PAGE)
    const iova = APERTURE + 0x10_0000n
    const size = BigInt(4 * PAGE)
    await space.map(memory, { iova })
    const cut = { instanceOf: VfioError, code: 'EINVAL' }
    t.throws(() => space.unmapSync(iova, PAGE), cut)
    t.throws(() => space.unmapSync(iova + BigInt(PAGE), 3 * PAGE), cut)
    await t.throwsAsync(space.unmap(iova - BigInt(PAGE), 2 * PAGE), cut)
    t.is(space.mappingCount, 1)
    const copy = await space.copy(space, iova, 4 * PAGE, { iova: iova + 2n * size })
    t.is(copy, iova + 2n * size)
    t.throws(() => space.copySync(space, iova, 4 * PAGE, { iova: copy }), {
      instanceOf: VfioError,
      code: 'EEXIST',
    })
    t.is(space.unmapSync(iova, 4 * PAGE), size)
    t.is(space.mappingCount, 1, 'the copy stays')
    await space.map(memory, { iova })
    // Both, and the hole between them.
    t.is(space.unmapSync(iova, 3n * size), 2n * size)
    t.is(space.unmapSync(iova, 3n * size), 0n)
  })
})

test.serial('page tables for PASIDs, and for what a device has not', async (t) => {
  using iommufd = Iommufd.open()
  await using space = AddressSpace.open({ iommufd })
  const mock = new Mock(space, HAS_PASID)
  t.true(hwInfo(mock).maxPasidLog2 > 0)
  const table = Hwpt.allocate(mock, space, { pasid: true })
  table.close()
  const plain = new Mock(space, NO_DIRTY)
  t.false(hwInfo(plain).capabilities.dirtyTracking)
  const refused = t.throws(() => Hwpt.allocate(plain, space, { dirtyTracking: true }), {
    instanceOf: VfioError,
  })
  t.is(refused.code, 'EOPNOTSUPP')
  mock.close()
  plain.close()
})
