// The public surface of node-vfio, and nothing else.
export { VfioDevice, type DeviceEventHandler, type FromFdOptions } from './device/device.js'
export type { OpenChoice, OpenOptions } from './device/open/options.js'
export type { ConnectOptions } from './device/connector.js'
import './vfio-user/client/register.js'
export type {
  DeviceBus,
  DeviceCapability,
  DeviceInfo,
  IrqInfo,
  MsixMappable,
  Nvlink2LinkSpeed,
  Nvlink2SsaTarget,
  PciAtomicCompletion,
  RegionArea,
  RegionCapability,
  RegionInfo,
  RegionKind,
  RegionType,
  SparseMmap,
  UnknownCapability,
  ZpciBase,
  ZpciFunctionPath,
  ZpciGroup,
  ZpciUtilityString,
} from './uapi/vfio/device-info.js'
export type { DeviceCondition } from './device/condition.js'
export type { IrqName, PciIrqName, PciRegionName } from './device/names.js'
export { DeviceIoeventfd, type IoeventfdOptions } from './device/ioeventfd.js'
export { DeviceFeatures, type FeatureSupport } from './device/features/features.js'
export { DmaLogging, type DmaLoggingOptions, type DmaRange } from './device/features/dma-logging.js'
export type { FeatureName } from './device/features/ids.js'
export { LowPower } from './device/features/low-power.js'
export { DeviceMigration, type PrecopyOptions, type SaveOptions } from './device/migration/migration.js'
export type { MigrationCapabilities, MigrationState } from './device/migration/states.js'
export { MigrationStream, type PrecopyInfo } from './device/migration/stream.js'
export { HotReset } from './device/hot-reset.js'
export type { GroupDependent, HotResetInfo, IommufdDependent } from './uapi/vfio/hot-reset.js'
export { DeviceGfx, type GfxPlaneKinds } from './device/gfx/gfx.js'
export { GfxEdid } from './device/gfx/edid.js'
export type { DmabufPlane, GfxPlane, GfxPlaneType, RegionPlane } from './uapi/vfio/gfx-plane.js'
export { type PollOptions, Region, type RegionCounters, type RegionDoorbell } from './device/region.js'
export {
  type EnableOptions,
  type InterruptHandler,
  InterruptIndex,
  type InterruptListener,
  type ListenOptions,
} from './device/interrupts.js'
export { AddressSpace, type AllocateOptions } from './iommu/address-space.js'
export type { IommuType } from './iommu/backend.js'
export type { ContainerKind } from './iommu/kernel/type1.js'
export type { AddressSpaceOptions } from './iommu/open-space.js'
export type { MapOptions, Mappable } from './iommu/pieces.js'
export type { MapAccess, PlaceOptions } from './iommu/placement.js'
export { Iommufd, type IommufdOptions, type RlimitMode } from './iommu/iommufd/iommufd.js'
export { FaultQueue } from './iommu/iommufd/fault-queue.js'
export type { PageRequest } from './uapi/iommufd/page-request.js'
export {
  Hwpt,
  HwptDirtyTracking,
  type HwptOptions,
  type IommuData,
  type IommufdDevice,
} from './iommu/iommufd/hwpt.js'
export type { HwInfo, IommuKind, VtdInfo } from './uapi/iommufd/hw-info.js'
export { EventQueue, HwQueue, Vdevice, Viommu } from './iommu/iommufd/viommu.js'
export type { IommuEvent } from './uapi/iommufd/iommu-event.js'
export type { DirtyTracking } from './iommu/dirty-tracking.js'
export { DirtyBitmap } from './memory/dirty-bitmap.js'
export { DmaBuffer } from './iommu/dma-buffer.js'
export { DmaBufFile } from './memory/dma-buf-file.js'
export { GuestMemory, type HugePages, type MemoryOptions } from './memory/guest-memory.js'
export type { IovaRange } from './uapi/iova-range.js'
export { EventFd, type EventFdOptions, type SignalHandler } from './event/eventfd.js'
export { type PollerCounters, type PollerOptions, SignalPoller } from './event/poller.js'
export { SignalWaiter, type WaiterCounters, type WaiterOptions } from './event/waiter.js'
export {
  DoorbellWire,
  type Doorbell,
  type HandlerTarget,
  type RegisterTarget,
  wireDoorbell,
} from './signalling/wire-doorbell.js'
export { IntxWire, type KernelIntxOptions, type OwnIntxOptions, wireIntx } from './signalling/wire-intx.js'
export { MsiWire, type MsiWireOptions, wireMsi } from './signalling/wire-msi.js'
export {
  type GuestBar,
  type PassthroughCounters,
  type PassthroughOptions,
  PciPassthrough,
  type TrappedRange,
} from './signalling/passthrough/passthrough.js'
export type { HideCapability } from './signalling/passthrough/capabilities.js'
export type { PassthroughAccess, PassthroughPolicy, PolicyAnswer } from './signalling/passthrough/policy.js'
export { VfioError, type VfioErrorContext, type VfioErrorReason } from './errors.js'
export type { ShareToken } from './handle.js'
export type { CallMessage } from './native/index.js'
export * from './pci/index.js'
