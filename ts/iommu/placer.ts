// Placing a mapping: tries the addresses that placement.ts allows until the kernel, which is the arbiter between all who map
// into a space, takes one.
import { EEXIST, EINVAL, VfioError, explained } from '../errors.js'
import type { NativeHandle } from '../native/index.js'
import type { SpaceBackend } from './backend.js'
import { type Extent, type Placement, candidates, checkFixed, givenOf, isUsable } from './placement.js'
import { mapContext } from './refusals.js'

/**
 * A mapping on its way to who asked for it. It has an owner all that time: a Worker that is terminated before it hears of the
 * mapping leaves none behind in a space that others hold.
 */
export interface Placed {
  readonly iova: bigint
  /** Undefined where nothing is mapped (no IOMMU). */
  readonly mapping: NativeHandle | undefined
}

/** The addresses for one mapping: one to try, and after each refusal the next. */
class Search {
  /** The one to try. */
  iova: bigint
  readonly #backend: SpaceBackend
  readonly #closed: () => boolean
  readonly #extent: Extent
  readonly #place: Placement
  /** Undefined for an address that was asked for, which is tried alone. */
  readonly #candidates?: Generator<bigint, never>
  /** How often the usable ranges were found to be others than they were known to be. */
  #moves = 0

  constructor(backend: SpaceBackend, closed: () => boolean, extent: Extent, place: Placement) {
    this.#backend = backend
    this.#closed = closed
    this.#extent = extent
    this.#place = place
    const given = givenOf(place, extent)
    if (given === undefined) {
      this.#candidates = this.#allowed()
      this.iova = this.#candidates.next().value
    } else {
      this.iova = given
    }
  }

  /** Goes on to the next address; throws what the refusal means when there is none to try after it. */
  refused(error: unknown): void {
    if (this.#candidates === undefined) {
      if (!this.#closed()) checkFixed(this.#backend.info(), this.iova, BigInt(this.#extent.size))
    } else if (this.#mayGoOn(error)) {
      this.iova = this.#candidates.next().value
      return
    }
    throw explained(error, (refusal) => mapContext(this.#backend, this.#extent, this.iova, refusal))
  }

  /** Where it may go, in the order to try; ends with the error of candidates(). */
  *#allowed(): Generator<bigint, never> {
    for (;;) {
      const moves = this.#moves
      for (const iova of candidates(this.#backend, this.#extent, this.#place)) {
        yield iova
        if (this.#moves !== moves) break
      }
    }
  }

  /** When another owner of the space has this address, or has put a device there, which takes away what it cannot reach. */
  #mayGoOn(error: unknown): boolean {
    if (!(error instanceof VfioError) || this.#closed()) return false
    if (error.errno === EEXIST) return true
    return error.errno === EINVAL && this.#hasMoved()
  }

  /** Whether the address was taken from ranges that are others by now; then placing begins anew. */
  #hasMoved(): boolean {
    this.#backend.forgetGeometry()
    if (isUsable(this.#backend.geometry(), this.iova, BigInt(this.#extent.size))) return false
    this.#moves++
    return true
  }
}

export class Placer {
  readonly #backend: SpaceBackend
  readonly #closed: () => boolean

  /** @param closed whether there is no space left to ask what was wrong with an address */
  constructor(backend: SpaceBackend, closed: () => boolean) {
    this.#backend = backend
    this.#closed = closed
  }

  /** Maps by `call`, which blocks; where. */
  placeSync(extent: Extent, place: Placement, call: (iova: bigint) => void): bigint {
    for (const search = new Search(this.#backend, this.#closed, extent, place); ;) {
      try {
        call(search.iova)
        return search.iova
      } catch (error) {
        search.refused(error)
      }
    }
  }

  /** The same for a call that gives the mapping's owner. */
  ownedSync(extent: Extent, place: Placement, call: (iova: bigint) => NativeHandle): Placed {
    let mapping: NativeHandle | undefined
    const iova = this.placeSync(extent, place, (at) => {
      mapping = call(at)
    })
    return { iova, mapping }
  }

  /** `ownedSync`, for a call that does not block. */
  async owned(
    extent: Extent,
    place: Placement,
    call: (iova: bigint) => Promise<NativeHandle>,
  ): Promise<Placed> {
    for (const search = new Search(this.#backend, this.#closed, extent, place); ;) {
      try {
        return { mapping: await call(search.iova), iova: search.iova }
      } catch (error) {
        search.refused(error)
      }
    }
  }
}
