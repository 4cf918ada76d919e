// The seam under an AddressSpace: what has to stand behind one. Where mappings go is decided above it, and nothing above it
// asks what stands there: the kernel (kernel/), or whoever else can show memory to a device.
import type { VfioError, VfioErrorContext } from '../errors.js'
import type { NativeHandle } from '../native/index.js'
import type { IovaRange } from '../uapi/iova-range.js'
import type { DirtyTracking } from './dirty-tracking.js'
import type { Iommufd } from './iommufd/iommufd.js'

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

/** Part of a memory, as it is to be mapped. */
export interface Piece {
  readonly memory: { readonly native: NativeHandle }
  /** Whether the memory is a device's own. */
  readonly peer: boolean
  readonly offset: number
  readonly size: number
}

/** Part of a file, as it is to be mapped: of an object with a descriptor, or of a descriptor. */
export interface FilePiece {
  readonly file: NativeHandle | number
  readonly offset: number
  readonly size: number
}

/**
 * How a space is found again from another Worker: an entry of `spaceKinds`, and what that needs to know beside the native
 * object. Travels with the token of `share()`.
 */
export interface SpaceTag {
  readonly backend: string
  readonly [detail: string]: unknown
}

/**
 * What an AddressSpace asks for. A mapping has an owner: a native object at whose release it is unmapped, at the latest with
 * the environment that made it.
 */
export interface SpaceBackend {
  readonly tag: SpaceTag
  /** Undefined while there is no device in the space that decides. */
  readonly type: IommuType | undefined
  /** Where it is shown as a descriptor. */
  readonly fd: number
  /** The uAPI name of mapping, for errors that this package makes itself. */
  readonly mapCall: string
  /** Whether all DMA is coherent with the caches; null where nobody tells. */
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
  /** The lowest free, aligned range of `size` bytes within [start, last], among what this process mapped. */
  gap(start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null
  /** How many mappings this process made. */
  readonly mappingCount: number

  mapFlags(read: boolean, write: boolean): number
  /** Maps; the mapping's owner. */
  mapOwned(piece: Piece, iova: bigint, flags: number): Promise<NativeHandle>
  mapOwnedSync(piece: Piece, iova: bigint, flags: number): NativeHandle
  /** The same without an owner, for pieces so small that nothing ends the environment meanwhile. */
  mapSync(piece: Piece, iova: bigint, flags: number): void
  /** An owner for memory that is where it is, of `locate`. */
  own(iova: bigint, size: bigint): NativeHandle
  /** Releases a mapping's owner and leaves it mapped, for who has its address. */
  leave(mapping: NativeHandle): void
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

  /** Mapping by descriptor rather than by address; absent where there is no such thing. */
  readonly files?: SpaceFiles
  /** The iommufd that it is in; absent for a space in none. */
  readonly ioas?: SpaceIoas
  /** Puts an IOMMU group in, for a space whose devices come by their groups. */
  attachGroup?(group: NativeHandle): void
}

/** What a space can do that knows memory by its file. The owners of mappings are as above. */
export interface SpaceFiles {
  map(piece: FilePiece, iova: bigint, flags: number): Promise<NativeHandle>
  mapSync(piece: FilePiece, iova: bigint, flags: number): NativeHandle
  /** Absent where a space takes nothing from another. */
  readonly copies?: SpaceCopies
  /** Keeps ranges usable whatever devices come later, and picking inside them. */
  allow(ranges: readonly IovaRange[]): void
}

/** Mapping at `iova` what another space of the same kind has mapped at `from`. */
export interface SpaceCopies {
  copy(source: NativeHandle, from: bigint, size: bigint, iova: bigint, flags: number): Promise<NativeHandle>
  copySync(source: NativeHandle, from: bigint, size: bigint, iova: bigint, flags: number): NativeHandle
}

/** What only an IOAS is. */
export interface SpaceIoas {
  readonly iommufd: Iommufd
  /** Its number in the iommufd. */
  readonly id: number
  /** Whether contiguous pages may become large ones in the IOMMU. */
  hugePages: boolean
}

/** A space that was opened, adopted or claimed: its native object, and what is to stand behind the AddressSpace over that. */
export interface OpenedSpace {
  readonly native: NativeHandle
  /** @param own gives the native object; throws once the space is closed */
  readonly backend: (own: () => NativeHandle) => SpaceBackend
}
