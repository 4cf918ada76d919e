// The native functions of what a device can do beside its regions and interrupts: features, migration, hot reset, display.
import type { NativeHandle } from './index.js'

/** Part of NativeAddon. */
export interface DeviceNative {
  // -- features --
  /** VFIO_DEVICE_FEATURE with bytes; the data as the kernel left it. */
  deviceFeature(device: NativeHandle, flags: number, data: Uint8Array): Uint8Array
  /** The page size that the device chose; `ranges` is a flat list of IOVA, length pairs. */
  deviceStartDmaLogging(device: NativeHandle, pageSize: bigint, ranges: readonly bigint[]): bigint
  /** One bit per page. */
  deviceReportDmaLogging(device: NativeHandle, iova: bigint, length: bigint, pageSize: bigint): Uint8Array
  /** `ranges` is a flat list of offset, length pairs. */
  deviceExportDmaBuf(device: NativeHandle, region: number, ranges: readonly bigint[]): NativeHandle
  dmaBufFileFromFd(fd: number): NativeHandle
  dmaBufFileSize(file: NativeHandle): number

  // -- migration --
  /** The session's stream, or null where the change began none. */
  deviceSetMigrationState(device: NativeHandle, state: number): Promise<NativeHandle | null>
  /** Up to `size` bytes, none at the end; EAGAIN when none came for a tenth of a second. */
  migrationStreamRead(stream: NativeHandle, size: number): Promise<Uint8Array>
  /** How many bytes were taken; EAGAIN as for reading. */
  migrationStreamWrite(stream: NativeHandle, bytes: Uint8Array): Promise<number>
  /** The bytes of vfio_precopy_info. */
  migrationStreamPrecopyInfo(stream: NativeHandle): Uint8Array

  // -- hot reset --
  /** The flags, and the bytes of each vfio_pci_dependent_device. */
  deviceHotResetInfo(device: NativeHandle): { flags: number; devices: Uint8Array }
  deviceHotResetSync(device: NativeHandle, owners: readonly NativeHandle[]): void
  /** `owners` are devices by whose groups it is allowed; with none, what shares the device's iommufd is. */
  deviceHotReset(device: NativeHandle, owners: readonly NativeHandle[]): Promise<void>
  /** Whether it was opened through its group. */
  deviceHasGroup(device: NativeHandle): boolean

  // -- display --
  /** The bytes of vfio_device_gfx_plane_info. */
  deviceQueryGfxPlane(device: NativeHandle, flags: number, planeType: number): Uint8Array
  deviceGetGfxDmabuf(device: NativeHandle, id: number): NativeHandle
}
