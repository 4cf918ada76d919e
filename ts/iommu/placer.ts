// Placing a mapping: tries the addresses that placement.ts allows until the kernel, which is the arbiter between all who map
// into a space, takes one.
import { EEXIST, EINVAL, VfioError, explained } from '../errors.js'
import type { NativeHandle } from '../native/index.js'
import type { SpaceBackend } from './backend.js'
import type { Placed } from './placed.js'
import {
  type Extent,
  type Gap,
  type Placement,
  candidates,
  checkFixed,
  givenOf,
  isUsable,
  mapContext,
} from './placement.js'

export class Placer {
  readonly #backend: SpaceBackend
  readonly #gap: Gap
  readonly #closed: () => boolean
  /** How often the usable ranges were found to be others than they were known to be. */
  #moves = 0

  /** @param closed whether there is a space left to ask what was wrong with a given address */
  constructor(backend: SpaceBackend, gap: Gap, closed: () => boolean) {
    this.#backend = backend
    this.#gap = gap
    this.#closed = closed
  }

  /** Maps by `call` and returns where. */
  placeSync(extent: Extent, place: Placement, call: (iova: bigint) => void): bigint {
    const given = givenOf(place, extent)
    if (given !== undefined) {
      try {
        call(given)
        return given
      } catch (error) {
        throw this.#refused(error, extent, given)
      }
    }
    const places = this.#candidates(extent, place)
    for (;;) {
      const iova = places.next().value
      try {
        call(iova)
        return iova
      } catch (error) {
        this.#passOver(error, extent, iova)
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

  async owned(
    extent: Extent,
    place: Placement,
    call: (iova: bigint) => Promise<NativeHandle>,
  ): Promise<Placed> {
    const given = givenOf(place, extent)
    if (given !== undefined) {
      try {
        return { iova: given, mapping: await call(given) }
      } catch (error) {
        throw this.#refused(error, extent, given)
      }
    }
    const places = this.#candidates(extent, place)
    for (;;) {
      const iova = places.next().value
      try {
        return { iova, mapping: await call(iova) }
      } catch (error) {
        this.#passOver(error, extent, iova)
      }
    }
  }

  /** Where it may go, in the order to try; ends with the error of candidates(). */
  *#candidates(extent: Extent, place: Placement): Generator<bigint, never> {
    for (;;) {
      const moves = this.#moves
      for (const iova of candidates(this.#backend, extent, place, this.#gap)) {
        yield iova
        if (this.#moves !== moves) break
      }
    }
  }

  /** What the refusal of a given address means. */
  #refused(error: unknown, extent: Extent, iova: bigint): unknown {
    if (!this.#closed()) checkFixed(this.#backend.info(), iova, BigInt(extent.size))
    return this.#explained(error, extent, iova)
  }

  /**
   * Throws what the refusal means, unless the next address may be tried: when another owner of the space has this one, or
   * has put a device there, which takes away what it cannot reach.
   */
  #passOver(error: unknown, extent: Extent, iova: bigint): void {
    if (error instanceof VfioError && !this.#closed()) {
      if (error.errno === EEXIST) return
      if (error.errno === EINVAL && this.#hasMoved(iova, extent)) return
    }
    throw this.#explained(error, extent, iova)
  }

  /** Whether the address was taken from ranges that are others by now; then placing begins anew. */
  #hasMoved(iova: bigint, extent: Extent): boolean {
    this.#backend.forgetGeometry()
    if (isUsable(this.#backend.geometry(), iova, BigInt(extent.size))) return false
    this.#moves++
    return true
  }

  #explained(error: unknown, extent: Extent, iova: bigint): unknown {
    return explained(error, (refusal) => mapContext(this.#backend, extent, iova, refusal))
  }
}
