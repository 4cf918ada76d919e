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

/** A space, as far as looking for a place in it needs it. */
interface Site {
  readonly backend: SpaceBackend
  /** Whether there is no space left to ask what was wrong with an address. */
  readonly closed: () => boolean
}

/** Addresses in the order to try. It is told with each whether the one before was found to be unusable meanwhile. */
type Addresses = Generator<bigint, never, boolean>

/** The addresses for one mapping: one to try, and after each refusal the next. */
class Search {
  /** The one to try. */
  iova: bigint
  readonly #site: Site
  readonly #extent: Extent
  /** Undefined for an address that was asked for, which is tried alone. */
  readonly #others?: Addresses

  constructor(site: Site, extent: Extent, place: Placement) {
    this.#site = site
    this.#extent = extent
    const given = givenOf(place, extent)
    if (given === undefined) {
      this.#others = addresses(site.backend, extent, place)
      this.iova = this.#others.next(false).value
    } else {
      this.iova = given
    }
  }

  /** Goes on to the next address; throws what the refusal means when there is none to try after it. */
  refused(error: unknown): void {
    const { backend, closed } = this.#site
    if (this.#others === undefined) {
      if (!closed()) checkFixed(backend.info(), this.iova, BigInt(this.#extent.size))
    } else if (error instanceof VfioError && !closed()) {
      const moved = error.errno === EINVAL && this.#hasMoved(backend)
      // When another owner of the space has the address, or has put a device there, which takes away what it cannot reach.
      if (moved || error.errno === EEXIST) {
        this.iova = this.#others.next(moved).value
        return
      }
    }
    throw explained(error, (refusal) => mapContext(backend, this.#extent, this.iova, refusal))
  }

  /** Whether the address was taken from ranges that are others by now. */
  #hasMoved(backend: SpaceBackend): boolean {
    backend.forgetGeometry()
    return !isUsable(backend.geometry(), this.iova, BigInt(this.#extent.size))
  }
}

/** Where it may go; anew when the ranges are others. Ends with the error of candidates(). */
function* addresses(backend: SpaceBackend, extent: Extent, place: Placement): Addresses {
  for (;;) {
    for (const iova of candidates(backend, extent, place)) {
      const moved = yield iova
      if (moved) break
    }
  }
}

export class Placer {
  readonly #site: Site

  constructor(backend: SpaceBackend, closed: () => boolean) {
    this.#site = { backend, closed }
  }

  /** Maps by `call`, which blocks; where. */
  placeSync(extent: Extent, place: Placement, call: (iova: bigint) => void): bigint {
    for (const search = new Search(this.#site, extent, place); ;) {
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
    for (const search = new Search(this.#site, extent, place); ;) {
      try {
        return { mapping: await call(search.iova), iova: search.iova }
      } catch (error) {
        search.refused(error)
      }
    }
  }
}
