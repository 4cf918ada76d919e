// Mapping and unmapping on the spot, by a space's own native functions. What they need of numbers goes through memory that
// both sides see, which costs a fraction of an argument of Node-API; bigints are checked there.
import { addon, type NativeHandle, tell, watching } from '../../native/index.js'
import type { Piece } from '../backend.js'

// The exchange as native/memory/dma_calls.h has it, in units of 8 bytes: two numbers, 32 bits, and 64.
const OFFSET = 0
const SIZE = 1
const FLAGS = 2
const UNMAPPED = 3

interface Bound {
  readonly map: (memory: NativeHandle, iova: bigint) => void
  readonly unmap: (iova: bigint, size?: number | bigint) => void
  readonly numbers: Float64Array
  readonly halves: Uint32Array
  readonly words: BigUint64Array
}

export class DmaCalls {
  readonly #native: () => NativeHandle
  #bound: Bound | undefined

  constructor(native: () => NativeHandle) {
    this.#native = native
  }

  /** Maps part of a memory, whose offset and size are whole numbers, at an address yet to be checked. */
  map({ memory, offset, size }: Piece, iova: bigint, flags: number): void {
    const { map, numbers, halves } = this.#functions()
    numbers[OFFSET] = offset
    numbers[SIZE] = size
    halves[2 * FLAGS] = flags
    if (watching()) {
      tell('dmaMap', [this.#native(), memory.native, offset, size, iova, flags], () => {
        map(memory.native, iova)
      })
    } else {
      map(memory.native, iova)
    }
  }

  /** The bytes unmapped. Neither argument was checked. */
  unmap(iova: bigint, size: number | bigint): bigint {
    const { unmap, numbers, words } = this.#functions()
    if (watching()) {
      tell('dmaUnmap', [this.#native(), iova, size], () => {
        unmap(iova, size)
      })
    } else if (typeof size === 'number') {
      numbers[SIZE] = size
      unmap(iova)
    } else {
      unmap(iova, size)
    }
    return words[UNMAPPED] ?? 0n
  }

  /** Made at first use, since a space may be mapped from another thread or not at all. */
  #functions(): Bound {
    return (this.#bound ??= this.#bind())
  }

  #bind(): Bound {
    const { map, unmap, exchange } = addon().dmaFunctions(this.#native())
    return {
      map,
      unmap,
      numbers: new Float64Array(exchange),
      halves: new Uint32Array(exchange),
      words: new BigUint64Array(exchange),
    }
  }
}
