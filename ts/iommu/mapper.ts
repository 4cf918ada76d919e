// Mapper: memory into a space, in a form that blocks and one that does not. Has places found for it, and sees to it that
// every mapping has an owner until its address has reached the caller.
import type { NativeHandle } from '../native/index.js'
import type { SpaceBackend } from './backend.js'
import type { MemoryPiece } from './pieces.js'
import type { Extent, Placement } from './placement.js'
import { type Placed, Placer } from './placer.js'

/** From this size on pinning takes so long that the environment may well end meanwhile. Bytes. */
const LONG = 1 << 20

/** Counts a call that does not block, so that closing the space waits for it. */
type Running = <T>(call: () => Promise<T>) => Promise<T>

/** Mapping by another call than the backend's own for memory. */
export interface OtherMapping {
  readonly extent: Extent
  readonly place: Placement
  readonly map: (iova: bigint) => Promise<NativeHandle>
  readonly mapSync: (iova: bigint) => NativeHandle
}

export class Mapper {
  readonly #backend: SpaceBackend
  readonly #running: Running
  readonly #placer: Placer

  constructor(backend: SpaceBackend, closed: () => boolean, running: Running) {
    this.#backend = backend
    this.#running = running
    this.#placer = new Placer(backend, closed)
  }

  /** Where it is then. */
  async map(piece: MemoryPiece, place: Placement): Promise<bigint> {
    return this.#handOver(await this.owned(piece, place))
  }

  /** `map`, blocking. */
  mapSync(piece: MemoryPiece, place: Placement): bigint {
    if (piece.size >= LONG) return this.#handOver(this.ownedSync(piece, place))
    return (
      this.#found(piece, place) ??
      this.#placer.placeSync(piece, place, (iova) => {
        this.#backend.mapSync(piece, iova, place.flags)
      })
    )
  }

  /** The mapping with its owner. */
  async owned(piece: MemoryPiece, place: Placement): Promise<Placed> {
    const found = this.#found(piece, place)
    if (found !== undefined) return { iova: found, mapping: undefined }
    return this.#running(() =>
      this.#placer.owned(piece, place, (iova) => this.#backend.mapOwned(piece, iova, place.flags)),
    )
  }

  /** `owned`, blocking. */
  ownedSync(piece: MemoryPiece, place: Placement): Placed {
    const found = this.#found(piece, place)
    if (found !== undefined) return { iova: found, mapping: undefined }
    return this.#placer.ownedSync(piece, place, (iova) =>
      this.#backend.mapOwnedSync(piece, iova, place.flags),
    )
  }

  /** What is mapped by a call of its own. */
  async other({ extent, place, map }: OtherMapping): Promise<bigint> {
    return this.#handOver(await this.#running(() => this.#placer.owned(extent, place, map)))
  }

  /** `other`, blocking. */
  otherSync({ extent, place, mapSync }: OtherMapping): bigint {
    return this.#handOver(this.#placer.ownedSync(extent, place, mapSync))
  }

  /** Where the memory is already, for a space in which nothing is mapped. */
  #found(piece: MemoryPiece, place: Placement): bigint | undefined {
    return this.#backend.locate?.(piece, place.iova, place.below)
  }

  /** Gives the mapping to who asked for it, by its address. */
  #handOver({ iova, mapping }: Placed): bigint {
    if (mapping !== undefined) this.#backend.leave(mapping)
    return iova
  }
}
