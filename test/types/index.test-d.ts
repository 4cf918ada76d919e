// The types of node-vfio: the shapes that programs are written against, and what the compiler must refuse.

import { expectTypeOf } from 'expect-type'
import {
  type AddressSpace,
  type DeviceInfo,
  type DmaBuffer,
  EventFd,
  FaultQueue,
  GuestMemory,
  type HwInfo,
  Hwpt,
  Iommufd,
  type PageRequest,
  type InterruptIndex,
  type InterruptListener,
  type IovaRange,
  type PciConfig,
  type Region,
  type ShareToken,
  SignalPoller,
  VfioDevice,
  type VfioError,
  type VfioErrorReason,
} from '../../ts/index.js'

expectTypeOf(VfioDevice.open).returns.resolves.toEqualTypeOf<VfioDevice>()
expectTypeOf(VfioDevice.openSync).returns.toEqualTypeOf<VfioDevice>()
expectTypeOf(VfioDevice.open).parameter(0).toBeString()
declare const device: VfioDevice
expectTypeOf(device.info).toEqualTypeOf<DeviceInfo>()
expectTypeOf(device.config).toEqualTypeOf<PciConfig>()
expectTypeOf(device.region).returns.toEqualTypeOf<Region>()
expectTypeOf(device.irq).returns.toEqualTypeOf<InterruptIndex>()
expectTypeOf(device.close).returns.resolves.toBeVoid()
expectTypeOf(device.addressSpace).toEqualTypeOf<AddressSpace>()
expectTypeOf<VfioDevice>().toExtend<Disposable & AsyncDisposable>()
// @ts-expect-error: regions go by their PCI names or an index
device.region('bar6')
// @ts-expect-error: a device is opened, not constructed
new VfioDevice()

declare const region: Region
expectTypeOf(region.read32).parameters.toEqualTypeOf<[offset: number]>()
expectTypeOf(region.read32).returns.toBeNumber()
expectTypeOf(region.read64(0)).toBeBigInt()
expectTypeOf(region.poll32).returns.toBeNumber()
expectTypeOf(region.poll64).returns.toBeBigInt()
expectTypeOf(region.view).returns.toEqualTypeOf<ArrayBuffer>()
// @ts-expect-error: 64 bits are a bigint
region.write64(0, 5)
// @ts-expect-error: an offset inside a region is a number
region.read32(0n)
// @ts-expect-error: poll64 is for 8 bytes
region.poll32(0, { equals: 1, width: 8 })
// @ts-expect-error: what to wait for is not optional
region.poll32(0, {})

declare const irq: InterruptIndex
expectTypeOf(irq.enable(2)).toEqualTypeOf<EventFd[]>()
expectTypeOf(irq.enable([new EventFd(), null])).toEqualTypeOf<EventFd[]>()
expectTypeOf(irq.listen).returns.toEqualTypeOf<InterruptListener>()

declare const space: AddressSpace
expectTypeOf(space.allocate).returns.resolves.toEqualTypeOf<DmaBuffer>()
expectTypeOf(space.allocateSync).returns.toEqualTypeOf<DmaBuffer>()
expectTypeOf(space.map).returns.resolves.toBeBigInt()
expectTypeOf(space.unmap).returns.resolves.toBeBigInt()
expectTypeOf(space.iovaRanges).toEqualTypeOf<IovaRange[]>()
expectTypeOf(space.pageSizes).toEqualTypeOf<bigint[]>()
// @ts-expect-error: addresses are bigints
await space.allocate(4096, { iova: 0x1000 })
// @ts-expect-error: only these two sizes
await space.allocate(4096, { hugePages: '4K' })

expectTypeOf(space.mapFile).returns.resolves.toBeBigInt()
expectTypeOf(space.copy).returns.resolves.toBeBigInt()
expectTypeOf(space.iommufd).toEqualTypeOf<Iommufd | null>()
// @ts-expect-error: an iommufd is opened, not constructed
new Iommufd()
expectTypeOf(device.opened?.through).toEqualTypeOf<'cdev' | 'group' | undefined>()
expectTypeOf(device.hwInfo).returns.toEqualTypeOf<HwInfo>()
expectTypeOf(space.dirtyTracking.unmap).parameters.toEqualTypeOf<
  [iova: bigint, size: number, pageSize: number]
>()
const hwpt = Hwpt.allocate(device, space, { dirtyTracking: true })
expectTypeOf(device.attach(hwpt, { pasid: 1 })).resolves.toBeVoid()
// @ts-expect-error: a PASID is a number
await device.detach({ pasid: 1n })
const faults = FaultQueue.allocate(Iommufd.open())
expectTypeOf(faults.read).returns.toEqualTypeOf<PageRequest[]>()
// @ts-expect-error: one of two answers
faults.respond(1, 'perhaps')

declare const buffer: DmaBuffer
expectTypeOf(buffer.iova).toBeBigInt()
expectTypeOf(buffer.size).toBeNumber()
expectTypeOf(buffer.buffer).toEqualTypeOf<ArrayBuffer>()
expectTypeOf(buffer.close).returns.resolves.toBeVoid()

expectTypeOf(GuestMemory.create).returns.toEqualTypeOf<GuestMemory>()
expectTypeOf<GuestMemory>().toExtend<Disposable>()
expectTypeOf(GuestMemory.claim).parameter(0).toEqualTypeOf<ShareToken>()

const eventfd = new EventFd({ initial: 1, semaphore: true })
expectTypeOf(eventfd.read).returns.toBeNumber()
expectTypeOf(eventfd.share).returns.toEqualTypeOf<ShareToken<'EventFd'>>()
expectTypeOf(eventfd).toExtend<AsyncIterable<number> & Disposable>()
for await (const count of eventfd) expectTypeOf(count).toBeNumber()
// @ts-expect-error: a counter's value is a number
eventfd.signal(1n)

const poller = new SignalPoller()
poller.add(eventfd, (count, source) => {
  expectTypeOf(count).toBeNumber()
  expectTypeOf(source).toEqualTypeOf<EventFd>()
})
expectTypeOf(poller.ref()).toEqualTypeOf<SignalPoller>()
expectTypeOf(poller.remove).returns.toBeBoolean()
// @ts-expect-error: counters are read, not set
poller.counters.wakes = 0

declare const error: VfioError
expectTypeOf(error).toExtend<Error>()
expectTypeOf(error.errno).toBeNumber()
expectTypeOf(error.reason).toEqualTypeOf<VfioErrorReason | undefined>()
// @ts-expect-error: an error is read-only
error.code = 'EBUSY'
