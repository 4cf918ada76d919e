// What the kernel's address spaces have in common, containers and IOASes: a native list of what is mapped, which Workers
// share, mapping on the spot, and what the kernel says of the space, kept.
import type { VfioError, VfioErrorContext } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import type { Geometry, IommuType, Piece, SpaceBackend, SpaceTag } from '../backend.js'
import type { DirtyTracking } from '../dirty-tracking.js'
import { DmaCalls } from './dma-calls.js'
import { KeptGeometry } from './kept-geometry.js'

export abstract class KernelSpace<Of extends Geometry = Geometry> implements SpaceBackend {
  abstract readonly tag: SpaceTag
  abstract readonly type: IommuType | undefined
  abstract readonly fd: number
  abstract readonly mapCall: string
  abstract readonly cacheCoherent: boolean | null
  readonly confines: boolean = true
  /** The space's native object. */
  protected readonly native: () => NativeHandle
  protected readonly calls: DmaCalls
  protected readonly kept: KeptGeometry<Of>

  /**
   * @param own gives the native object
   * @param changes a count of what may have changed what the space says of itself
   */
  protected constructor(own: () => NativeHandle, changes: () => ArrayBuffer) {
    this.native = own
    this.calls = new DmaCalls(own)
    this.kept = new KeptGeometry(() => this.placeable(), changes)
  }

  abstract info(): Geometry
  /** Where places are picked, as of now. */
  protected abstract placeable(): Of

  geometry(): Geometry {
    return this.kept.get()
  }

  forgetGeometry(): void {
    this.kept.drop()
  }

  gap(start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null {
    return addon().dmaGap(this.native(), start, last, size, alignment)
  }

  get mappingCount(): number {
    return addon().dmaMappingCount(this.native())
  }

  abstract mapFlags(read: boolean, write: boolean): number
  abstract mapOwned(piece: Piece, iova: bigint, flags: number): Promise<NativeHandle>
  abstract mapOwnedSync(piece: Piece, iova: bigint, flags: number): NativeHandle

  mapSync(piece: Piece, iova: bigint, flags: number): void {
    this.calls.map(piece, iova, flags)
  }

  own(iova: bigint, size: bigint): NativeHandle {
    return addon().dmaMappingOwn(this.native(), iova, size)
  }

  leave(mapping: NativeHandle): void {
    addon().dmaMappingLeave(mapping)
  }

  abstract unmap(iova: bigint, size: number | bigint): Promise<bigint>

  unmapSync(iova: bigint, size: number | bigint): bigint {
    return this.calls.unmap(iova, size)
  }

  abstract unmapAll(): bigint
  abstract dirtyTracking(): DirtyTracking
  abstract explainMap(error: VfioError, peer: boolean): VfioErrorContext

  close(): void {
    // The native object is all there is.
  }
}
