// What native/iommufd gives to JavaScript: /dev/iommu and the objects in it. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** The functions of native/iommufd. */
export interface IommufdFunctions {
  // -- /dev/iommu --
  /** With `shared` the one that the process has at that path, if it has one. */
  iommufdOpen(path: string, shared: boolean): NativeHandle
  iommufdFromFd(fd: number): NativeHandle
  /** Sets an option, or with null only asks; the value that holds. */
  iommufdOption(iommufd: NativeHandle, option: number, objectId: number, value: bigint | null): bigint
  /** `op` is 0 get, 1 set, 2 clear; the id of the IOAS that VFIO's compatibility mode uses. */
  iommufdVfioIoas(iommufd: NativeHandle, op: number, id: number): number
  iommufdChangeProcess(iommufd: NativeHandle): void
  /** A command that has no function here; the kernel writes its answer into `bytes`. */
  iommufdCall(iommufd: NativeHandle, command: number, bytes: Uint8Array): number

  // -- IO address spaces --
  ioasAlloc(iommufd: NativeHandle): NativeHandle
  /** Takes over an IOAS that is in the iommufd already. */
  ioasFromId(iommufd: NativeHandle, id: number): NativeHandle
  ioasId(ioas: NativeHandle): number
  /** The iommufd that it is in, as a handle of this environment. */
  ioasIommufd(ioas: NativeHandle): NativeHandle
  /** A 32-bit count: how often, through this process, a device came or left or the allowed ranges were set. */
  ioasChanges(ioas: NativeHandle): ArrayBuffer
  /** The alignment of every IOVA, then the start and the last address of each range. */
  ioasIovaRanges(ioas: NativeHandle): bigint[]
  /** `ranges` is flat: a start and a last address each. */
  ioasAllowIovas(ioas: NativeHandle, ranges: readonly bigint[]): void
  /** What was allowed through this object, in the same form; empty where nothing was. */
  ioasAllowed(ioas: NativeHandle): bigint[]
  /** The mapping's owner, at whose release it is unmapped; `dmaMappingLeave` takes it over. So with those that follow. */
  ioasMapSync(
    ioas: NativeHandle,
    memory: NativeHandle,
    offset: number,
    size: number,
    iova: bigint,
    flags: number,
  ): NativeHandle
  ioasMap(
    ioas: NativeHandle,
    memory: NativeHandle,
    offset: number,
    size: number,
    iova: bigint,
    flags: number,
  ): Promise<NativeHandle>
  /** `file` is the handle of an object with a descriptor, or a descriptor, which is duplicated for the call. */
  ioasMapFileSync(
    ioas: NativeHandle,
    file: NativeHandle | number,
    start: number,
    size: number,
    iova: bigint,
    flags: number,
  ): NativeHandle
  ioasMapFile(
    ioas: NativeHandle,
    file: NativeHandle | number,
    start: number,
    size: number,
    iova: bigint,
    flags: number,
  ): Promise<NativeHandle>
  ioasCopySync(
    ioas: NativeHandle,
    source: NativeHandle,
    from: bigint,
    size: bigint,
    iova: bigint,
    flags: number,
  ): NativeHandle
  ioasCopy(
    ioas: NativeHandle,
    source: NativeHandle,
    from: bigint,
    size: bigint,
    iova: bigint,
    flags: number,
  ): Promise<NativeHandle>
  ioasUnmap(ioas: NativeHandle, iova: bigint, size: number | bigint): Promise<bigint>
  ioasUnmapAll(ioas: NativeHandle): bigint
  /** 0 no dirty tracking, 1 its page tables are able to, 2 they do. */
  ioasTracking(ioas: NativeHandle): number
  /** Sets that; the page tables that are to follow. */
  ioasTrack(ioas: NativeHandle, tracking: number): NativeHandle[]
  /** A page table for other devices of the space to find while it lives; the tracking at that moment. */
  ioasAddTable(ioas: NativeHandle, hwpt: NativeHandle): number
  /** Those that were added and live. */
  ioasTables(ioas: NativeHandle): NativeHandle[]

  // -- page tables and what hangs on them --
  iommufdObjectId(object: NativeHandle): number
  /** `parent` is an IOAS, a page table that may be nested in, or a vIOMMU. */
  hwptAlloc(
    parent: NativeHandle,
    deviceId: number,
    flags: number,
    dataType: number,
    data: Uint8Array | null,
    faultQueue: NativeHandle | null,
  ): NativeHandle
  hwptSetDirtyTracking(hwpt: NativeHandle, enable: boolean): void
  /** With `keep` the marks stay. */
  hwptGetDirtyBitmap(
    hwpt: NativeHandle,
    iova: bigint,
    size: bigint,
    pageSize: bigint,
    keep: boolean,
  ): Uint8Array
  /** How many entries were handled. */
  hwptInvalidate(object: NativeHandle, dataType: number, entryLength: number, data: Uint8Array): number
  iommufdHwInfo(
    iommufd: NativeHandle,
    deviceId: number,
    type: number | null,
  ): { type: number; maxPasidLog2: number; capabilities: bigint; data: Uint8Array }
  faultQueueAlloc(iommufd: NativeHandle): NativeHandle
  /** The kernel writes its part into `data`. */
  viommuAlloc(hwpt: NativeHandle, deviceId: number, type: number, data: Uint8Array | null): NativeHandle
  vdeviceAlloc(viommu: NativeHandle, deviceId: number, virtualId: bigint): NativeHandle
  veventqAlloc(viommu: NativeHandle, type: number, depth: number): NativeHandle
  hwQueueAlloc(viommu: NativeHandle, type: number, index: number, iova: bigint, length: bigint): NativeHandle
  /** Whole records, as many as there are and fit; none when the queue is empty. */
  queueRead(queue: NativeHandle): Uint8Array
  queueWrite(queue: NativeHandle, bytes: Uint8Array): number
}
