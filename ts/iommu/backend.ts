// The seam under an AddressSpace: what each kernel interface must be able to do. Where mappings go is decided above it.
import type { VfioErrorContext, VfioError } from '../errors.js'
import type { NativeHandle } from '../native/index.js'
import type { DirtyTracking } from './dirty-tracking.js'
import type { IovaRange } from '../uapi/iova-range.js'

/** The IOMMU interface of an address space. `noiommu` is none: devices use physical addresses. */
export type IommuType = 'iommufd' | 'type1v2' | 'type1' | 'noiommu'

/** What a space says of itself. */
export interface Geometry {
  /** The page sizes of mappings in bytes, ascending; the first is the granule. */
  readonly pageSizes: readonly bigint[]
  /** Empty where the kernel names none. */
  readonly iovaRanges: readonly IovaRange[]
  /** Mappings that can still be made; null when the kernel does not say. */
  readonly mappingsAvailable: number | null
}

/** Part of a memory, as the kernel is to map it. */
export interface Piece {
  readonly memory: { readonly native: NativeHandle }
  /** Whether the memory is a device's own. */
  readonly peer: boolean
  readonly offset: number
  readonly size: number
}

export interface SpaceBackend {
  /** Undefined while there is no device in the space that decides. */
  readonly type: IommuType | undefined
  /** Where it is shown as a descriptor. */
  readonly fd: number
  /** The uAPI name of mapping, for errors that this package makes itself. */
  readonly mapCall: string
  /** Whether all DMA is coherent with the caches; null where the kernel does not tell. */
  readonly cacheCoherent: boolean | null
  /** Whether devices reach what is mapped and nothing else. */
  readonly confines: boolean
  /**
   * For picking places: the usable ranges, or those of them that picking is to keep to. Lasts until a device comes or leaves:
   * asking and decoding take as long as mapping a megabyte.
   */
  geometry(): Geometry
  /** Everything that is usable, as of now. */
  info(): Geometry
  /** What `geometry()` has kept is wrong. */
  forgetGeometry(): void
  mapFlags(read: boolean, write: boolean): number
  /** The mapping's owner: it is unmapped when that is released, at the latest with the environment. */
  mapOwned(piece: Piece, iova: bigint, flags: number): Promise<NativeHandle>
  mapOwnedSync(piece: Piece, iova: bigint, flags: number): NativeHandle
  /** The same without an owner, for pieces so small that nothing ends the environment meanwhile. */
  mapSync(piece: Piece, iova: bigint, flags: number): void
  /** Where memory is for devices that nothing translates for; absent where addresses are given out. */
  locate?(piece: Piece, iova?: bigint, below?: bigint): bigint
  /** The bytes unmapped. */
  unmap(iova: bigint, size: number | bigint): Promise<bigint>
  unmapSync(iova: bigint, size: number | bigint): bigint
  unmapAll(): bigint
  dirtyTracking(): DirtyTracking
  /** What a refusal to map means here; `peer` when it was memory of a device. */
  explainMap(error: VfioError, peer: boolean): VfioErrorContext
  /** Lets go of what it holds beside the space's native object. */
  close(): void
}
