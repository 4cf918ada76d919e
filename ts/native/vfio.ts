// What native/vfio gives to JavaScript: address spaces, containers, groups and devices. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** The functions of native/vfio. */
export interface VfioFunctions {
  // -- every address space --
  /** The lowest free, aligned range of `size` bytes within [start, last], among what this process mapped. */
  dmaGap(space: NativeHandle, start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null
  dmaMappingCount(space: NativeHandle): number
  /**
   * What maps and unmaps on the spot: `map` takes the offset, the size and the flags from the exchange, `unmap` its size
   * unless it is given one, and leaves there how much it was. The memory is memory or a region's registers.
   */
  dmaFunctions(space: NativeHandle): {
    map: (memory: NativeHandle, iova: bigint) => void
    unmap: (iova: bigint, size?: number | bigint) => void
    exchange: ArrayBuffer
  }
  /** A handle that unmaps the range when its last holder lets go. */
  dmaMappingOwn(space: NativeHandle, iova: bigint, size: bigint): NativeHandle
  /** Releases a mapping's owner and leaves it mapped, for who has its address. */
  dmaMappingLeave(mapping: NativeHandle): void

  // -- containers --
  containerOpen(path: string): NativeHandle
  /** `iommu` is the extension number of the IOMMU driver that its maker set, or 0. */
  containerFromFd(fd: number, iommu: number): NativeHandle
  containerCheckExtension(container: NativeHandle, extension: number): number
  /** The extension number of the IOMMU driver that is set, as far as this process knows; 0 for none. */
  containerIommu(container: NativeHandle): number
  /** A 32-bit count: how often, through this process, a group came or left or the IOMMU driver was set. */
  containerChanges(container: NativeHandle): ArrayBuffer
  /** The bytes of vfio_iommu_type1_info and its capabilities. */
  containerGetInfo(container: NativeHandle): Uint8Array
  /** The mapping's owner, at whose release it is unmapped; `dmaMappingLeave` takes it over. */
  containerMapDmaSync(
    container: NativeHandle,
    memory: NativeHandle,
    offset: number,
    size: number,
    iova: bigint,
    flags: number,
  ): NativeHandle
  containerMapDma(
    container: NativeHandle,
    memory: NativeHandle,
    offset: number,
    size: number,
    iova: bigint,
    flags: number,
  ): Promise<NativeHandle>
  containerUnmapDma(container: NativeHandle, iova: bigint, size: number | bigint): Promise<bigint>
  containerUnmapAll(container: NativeHandle): bigint
  containerDirtyPages(container: NativeHandle, flags: number): void
  containerDirtyBitmap(container: NativeHandle, iova: bigint, size: bigint, pageSize: bigint): Uint8Array
  /** Unmaps; the marks that the range had until then. */
  containerUnmapDirty(container: NativeHandle, iova: bigint, size: bigint, pageSize: bigint): Uint8Array

  // -- groups --
  groupOpen(path: string): NativeHandle
  groupGetStatus(group: NativeHandle): number
  /** A container without an IOMMU driver gets the first of `drivers`, extension numbers, that it knows. */
  groupSetContainer(group: NativeHandle, container: NativeHandle, drivers: readonly number[]): void
  groupContainer(group: NativeHandle): NativeHandle | null
  groupGetDeviceFdSync(group: NativeHandle, name: string): NativeHandle
  groupGetDeviceFd(group: NativeHandle, name: string): Promise<NativeHandle>

  // -- a device's own node --
  /** The device's file, of which nothing can be asked before it is bound. */
  cdevOpen(path: string): NativeHandle
  cdevFromFd(fd: number): NativeHandle
  /** Opens the device; `token` is the 16 bytes of a VF token. */
  deviceBindSync(device: NativeHandle, iommufd: NativeHandle, token: Uint8Array | null): void
  deviceBind(device: NativeHandle, iommufd: NativeHandle, token: Uint8Array | null): Promise<void>
  /** The number of the hardware page table that is used. */
  deviceAttachIoasSync(device: NativeHandle, ioas: NativeHandle, pasid: number | null): number
  deviceAttachIoas(device: NativeHandle, ioas: NativeHandle, pasid: number | null): Promise<number>
  deviceAttachHwptSync(device: NativeHandle, hwpt: NativeHandle, pasid: number | null): void
  deviceAttachHwpt(device: NativeHandle, hwpt: NativeHandle, pasid: number | null): Promise<void>
  deviceDetach(device: NativeHandle, pasid: number | null): Promise<void>
  /** Its number in the iommufd that it is bound to; null for a device of a group. */
  deviceIommufdId(device: NativeHandle): number | null
  /** Notes the IOMMU group of an attached device. */
  deviceInGroup(device: NativeHandle, group: number): void
  /** The space that this process has attached a device of the group to. */
  ioasOfGroup(group: number): NativeHandle | null

  // -- devices --
  deviceFromFd(fd: number, owner: NativeHandle | null): NativeHandle
  deviceGetInfo(device: NativeHandle): Uint8Array
  deviceGetRegionInfo(device: NativeHandle, index: number): Uint8Array
  deviceGetIrqInfo(device: NativeHandle, index: number): Uint8Array
  /** 0; or how many vectors the host can spare, when that is fewer: none is on then. */
  deviceSetIrqs(
    device: NativeHandle,
    flags: number,
    index: number,
    start: number,
    count: number,
    data: readonly (NativeHandle | null)[] | Uint8Array | null,
  ): number
  /** Makes a signal of `eventfd` a write at `offset` of the device's file, until the handle is released. */
  deviceIoeventfd(
    device: NativeHandle,
    offset: number,
    width: number,
    data: bigint,
    eventfd: NativeHandle,
  ): NativeHandle
  deviceResetSync(device: NativeHandle): void
  deviceReset(device: NativeHandle): Promise<void>

  // -- regions --
  /** Accessors over part of a file; `areas` is a flat list of offset, size pairs to map. */
  regionOpen(
    file: NativeHandle,
    fileOffset: number,
    size: number,
    readable: boolean,
    writable: boolean,
    areas: readonly number[],
  ): NativeHandle
  regionWindow(
    file: NativeHandle,
    fileOffset: number,
    length: number,
    readable: boolean,
    writable: boolean,
  ): ArrayBuffer

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
