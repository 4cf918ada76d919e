// The address space of a device behind a socket: memory is shown to its server by its file, and what has none is given and
// taken by message. Nothing is translated: the server knows memory by the addresses under which it was shown.
import type { VfioError, VfioErrorContext } from '../../errors.js'
import type { FilePiece, Geometry, Piece, SpaceBackend, SpaceFiles, SpaceTag } from '../../iommu/backend.js'
import type { DirtyTracking } from '../../iommu/dirty-tracking.js'
import { pageSize } from '../../memory/page.js'
import { type NativeHandle, addon } from '../../native/index.js'
import { type IovaRange, flatRanges, rangesFrom } from '../../uapi/iova-range.js'
import { MAX_U64 } from '../../validate.js'
import { DMA_FLAG } from '../protocol/constants.js'
import { Channel } from './channel.js'
import { UserDirtyTracking } from './dirty-tracking.js'

const EVERYTHING: readonly IovaRange[] = [{ start: 0n, last: MAX_U64 }]

export class UserSpace implements SpaceBackend {
  readonly tag: SpaceTag = { backend: 'vfio-user' }
  readonly type = undefined
  readonly mapCall = 'VFIO_USER_DMA_MAP'
  readonly cacheCoherent = null
  /** As far as the server keeps to the protocol: it gives up what is taken from it. */
  readonly confines = true
  readonly files: SpaceFiles
  readonly #own: () => NativeHandle
  readonly #channel: Channel
  #allowed: readonly IovaRange[] = []
  #tracking: UserDirtyTracking | undefined

  /** @param own gives the space's native object; throws once the space is closed */
  constructor(own: () => NativeHandle) {
    this.#own = own
    this.#channel = new Channel(own)
    this.files = {
      map: (piece, iova, flags) =>
        isMemory(piece)
          ? addon().userSpaceMap(own(), piece.file, piece.offset, piece.size, iova, flags)
          : addon().userSpaceMapDescriptor(own(), piece.file, piece.offset, piece.size, iova, flags),
      mapSync: (piece, iova, flags) =>
        isMemory(piece)
          ? addon().userSpaceMapSync(own(), piece.file, piece.offset, piece.size, iova, flags)
          : addon().userSpaceMapDescriptorSync(own(), piece.file, piece.offset, piece.size, iova, flags),
      allow: (ranges) => {
        this.#allowed = rangesFrom(flatRanges(ranges))
      },
    }
  }

  get fd(): number {
    return addon().handleFd(this.#own())
  }

  geometry(): Geometry {
    return this.#geometry(this.#allowed.length > 0 ? this.#allowed : EVERYTHING)
  }

  info(): Geometry {
    return this.#geometry(EVERYTHING)
  }

  forgetGeometry(): void {
    // Nothing is kept: what was agreed stays.
  }

  gap(start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null {
    return addon().dmaGap(this.#own(), start, last, size, alignment)
  }

  get mappingCount(): number {
    return addon().dmaMappingCount(this.#own())
  }

  mapFlags(read: boolean, write: boolean): number {
    return (read ? DMA_FLAG.read : 0) | (write ? DMA_FLAG.write : 0)
  }

  mapOwned({ memory, peer, offset, size }: Piece, iova: bigint, flags: number): Promise<NativeHandle> {
    const space = this.#own()
    return peer
      ? addon().userSpaceMapPeer(space, memory.native, offset, size, iova, flags)
      : addon().userSpaceMap(space, memory.native, offset, size, iova, flags)
  }

  mapOwnedSync({ memory, peer, offset, size }: Piece, iova: bigint, flags: number): NativeHandle {
    const space = this.#own()
    return peer
      ? addon().userSpaceMapPeerSync(space, memory.native, offset, size, iova, flags)
      : addon().userSpaceMapSync(space, memory.native, offset, size, iova, flags)
  }

  mapSync(piece: Piece, iova: bigint, flags: number): void {
    this.leave(this.mapOwnedSync(piece, iova, flags))
  }

  own(iova: bigint, size: bigint): NativeHandle {
    return addon().dmaMappingOwn(this.#own(), iova, size)
  }

  leave(mapping: NativeHandle): void {
    addon().dmaMappingLeave(mapping)
  }

  unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    return addon().userSpaceUnmap(this.#own(), iova, size)
  }

  unmapSync(iova: bigint, size: number | bigint): bigint {
    return addon().userSpaceUnmapSync(this.#own(), iova, size)
  }

  unmapAll(): bigint {
    return addon().userSpaceUnmapAll(this.#own())
  }

  dirtyTracking(): DirtyTracking {
    return (this.#tracking ??= new UserDirtyTracking(this.#channel, (iova, size) =>
      this.unmapSync(iova, size),
    ))
  }

  explainMap({ syscall, code }: VfioError): VfioErrorContext {
    if (code === 'ENOSPC') {
      return {
        reason: 'mapping-limit',
        remedy: `The server takes ${String(this.#channel.terms.mostMaps)} mappings (max_dma_maps): map larger pieces.`,
      }
    }
    // Of memory of its own, which the server would have been shown, this process must have a mapping too.
    return syscall === 'mmap' ? { remedy: 'The memory cannot be mapped in this process.' } : {}
  }

  close(): void {
    // The native object is all there is.
  }

  #geometry(iovaRanges: readonly IovaRange[]): Geometry {
    const { pageSizes, mostMaps } = this.#channel.terms
    return {
      pageSizes: sizesOf(pageSizes),
      iovaRanges,
      mappingsAvailable: Math.max(0, mostMaps - this.mappingCount),
    }
  }
}

/** The page sizes in a set of bits; none is smaller than this machine's, in which memory comes. */
function sizesOf(bits: bigint): bigint[] {
  const page = BigInt(pageSize())
  const sizes: bigint[] = []
  for (let size = page; size <= bits; size <<= 1n) if ((bits & size) !== 0n) sizes.push(size)
  return sizes.length > 0 ? sizes : [page]
}

/** Memory of this package, which this process can answer for by message too. */
function isMemory(piece: FilePiece): piece is FilePiece & { file: NativeHandle } {
  return typeof piece.file !== 'number' && addon().handleKind(piece.file) === 'memory'
}
