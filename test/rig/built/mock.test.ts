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
  type IommufdDevice,
  Iommufd,
  SignalPoller,
  Vdevice,
  VfioError,
  Viommu,
} from '../../../ts/index.js'
import { hwInfo } from '../../../ts/iommu/hwpt.js'
import { addon } from '../../../ts/native.js'
import { until } from '../devices.js'

const TEST_COMMAND = 0xa0
const OP = {
  replace: 10,
  mockDomainFlags: 12,
  checkIotlb: 14,
  dirty: 13,
  triggerIopf: 15,
  triggerVevent: 17,
} as const
const PAGE = 4096
const MOCK_PAGE = 2048n
const APERTURE = 1n << 24n
const SELFTEST = 0xdeadbeef
const HWPT_SELFTEST = 0xdead
const NESTED = { type: HWPT_SELFTEST, bytes: new Uint8Array(Uint32Array.of(0xbadbeef).buffer) }

/** IOMMU_TEST_CMD: what the mock devices are told. */
function command(iommufd: Iommufd, op: number, id: number, fill: (view: DataView) => void): DataView {
  const bytes = new Uint8Array(72)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint32(4, op, true)
  view.setUint32(8, id, true)
  fill(view)
  addon().iommufdCall(iommufd.native, TEST_COMMAND, bytes)
  return view
}

class Mock implements IommufdDevice {
  readonly iommufdId: number
  readonly #stdev: number
  readonly addressSpace: AddressSpace
  readonly iommufd: Iommufd

  constructor(space: AddressSpace, flags = 0) {
    this.addressSpace = space
    this.iommufd = space.iommufd as Iommufd
    const view = command(this.iommufd, OP.mockDomainFlags, space.ioasId as number, (each) => {
      each.setUint32(28, flags, true)
    })
    this.#stdev = view.getUint32(16, true)
    this.iommufdId = view.getUint32(24, true)
  }

  close(): void {
    const bytes = new Uint8Array(8)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 8, true)
    view.setUint32(4, this.#stdev, true)
    addon().iommufdCall(this.iommufd.native, 0x80, bytes)
  }

  iotlb(hwpt: Hwpt, index: number, expected: number): void {
    command(this.iommufd, OP.checkIotlb, hwpt.id, (view) => {
      view.setUint32(16, index, true)
      view.setUint32(20, expected, true)
    })
  }

  pageRequest(address: bigint): void {
    command(this.iommufd, OP.triggerIopf, 0, (view) => {
      view.setUint32(16, this.iommufdId, true)
      view.setUint32(20, 0, true)
      view.setUint32(24, 7, true)
      view.setUint32(28, 3, true)
      view.setBigUint64(32, address, true)
    })
  }

  /** Puts the device on a page table, or on an IOAS, by its number. */
  attach(id: number): void {
    command(this.iommufd, OP.replace, this.#stdev, (view) => {
      view.setUint32(16, id, true)
    })
  }

  event(): void {
    command(this.iommufd, OP.triggerVevent, this.iommufdId, (view) => {
      view.setUint32(16, this.iommufdId, true)
    })
  }
}

async function withMock(use: (mock: Mock, space: AddressSpace) => void | Promise<void>): Promise<void> {
  const iommufd = Iommufd.open()
  const space = AddressSpace.open({ iommufd })
  const mock = new Mock(space)
  try {
    await use(mock, space)
  } finally {
    mock.close()
    await space.close()
    iommufd.close()
  }
}

test.serial('what the IOMMU behind a device can do', async (t) => {
  await withMock((mock) => {
    const info = hwInfo(mock)
    t.is(info.type, 0xfeedbeef)
    t.is(new DataView(info.data.buffer).getUint32(4, true), SELFTEST)
    t.true(info.capabilities.dirtyTracking)
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
    using marks = GuestMemory.create(PAGE)
    new Uint8Array(marks.buffer)[0] = 0b101
    const before = hwpt.dirtyTracking.bitmap(buffer.iova, 16 * PAGE, Number(MOCK_PAGE))
    t.is(before.count, 0)
    t.is(before.pages, 32)
    // Nothing can be marked without an address for the kernel to read: the flags are what is proven here.
    t.is(hwpt.dirtyTracking.bitmap(buffer.iova, 16 * PAGE, Number(MOCK_PAGE), { clear: false }).count, 0)
    hwpt.dirtyTracking.stop()
    t.throws(() => hwpt.dirtyTracking.bitmap(buffer.iova, 3, Number(MOCK_PAGE)), { instanceOf: RangeError })
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

    const queue = EventQueue.allocate(viommu, { type: 0xbeefbeef, depth: 2, entryLength: 4 })
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
