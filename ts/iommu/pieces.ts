// Which part of which memory is to be mapped: what callers may pass, and what becomes of it. Knows nothing of addresses.
import { DmaBuffer } from './dma-buffer.js'
import { GuestMemory, originOf } from '../memory/guest-memory.js'
import { pageSize } from '../memory/page.js'
import { PeerMemory } from '../memory/peer-memory.js'
import { integer, options as optionsOf } from '../validate.js'
import type { Piece } from './backend.js'
import type { Extent, PlaceOptions } from './placement.js'

/** What may be mapped: memory of this package, a page-aligned view of it, or a device's own memory, its `Region`. */
export type Mappable = GuestMemory | DmaBuffer | ArrayBufferLike | ArrayBufferView | PeerMemory

export interface MapOptions extends PlaceOptions {
  /** Bytes into the memory, a multiple of the page size (default 0). */
  offset?: number
  /** Bytes, a multiple of the page size (default: the rest of the memory). */
  size?: number
}

/** A part of memory that was checked. */
export type MemoryPiece = Extent & Piece

/** For a device's own memory, of which only the size is known: a BAR lies at a multiple of it. */
function largestPage(size: number): number {
  return Math.min(2 ** 30, 2 ** Math.floor(Math.log2(size)))
}

interface Whole {
  readonly memory: GuestMemory | PeerMemory
  readonly offset: number
  readonly size: number
}

function wholeOf(memory: Mappable): Whole {
  if (memory instanceof GuestMemory || memory instanceof PeerMemory)
    return { memory, offset: 0, size: memory.size }
  if (memory instanceof DmaBuffer) return { memory: memory.memory, offset: 0, size: memory.size }
  const view = ArrayBuffer.isView(memory) ? memory : undefined
  const buffer = view === undefined ? memory : view.buffer
  if (!(buffer instanceof ArrayBuffer) && !(buffer instanceof SharedArrayBuffer)) {
    throw new TypeError('memory must be GuestMemory, a DmaBuffer, or a view of the ArrayBuffer of either')
  }
  const origin = originOf(buffer)
  if (origin === undefined) {
    throw new RangeError(
      'memory must be page-aligned memory of this package: an ordinary ArrayBuffer is not; use allocate() or GuestMemory',
    )
  }
  return {
    memory: origin.memory,
    offset: origin.offset + (view?.byteOffset ?? 0),
    size: view?.byteLength ?? buffer.byteLength,
  }
}

/** The part of memory that the options mean. */
export function pieceOf(memory: Mappable, options?: MapOptions): MemoryPiece {
  const whole = wholeOf(memory)
  const page = pageSize()
  const given = optionsOf(options, 'options')
  const offset = integer(given.offset ?? 0, 'offset', 0, whole.size - 1)
  const { size = whole.size - offset } = given
  integer(size, 'size', 1, whole.size - offset)
  const start = whole.offset + offset
  if (start % page !== 0 || size % page !== 0) {
    throw new RangeError(
      `memory must start and end on a page (${String(page)} bytes); offset ${String(start)}, size ${String(size)} do not: use allocate() for memory that fits`,
    )
  }
  const { memory: own } = whole
  if (own instanceof GuestMemory)
    return { memory: own, peer: false, offset: start, size, alignment: own.pageSize }
  if (!own.isMapped(start, size)) {
    throw new RangeError(
      `offset and size must lie in one of the region's mmapAreas; ${String(start)} and ${String(size)} do not`,
    )
  }
  return { memory: own, peer: true, offset: start, size, alignment: largestPage(size) }
}

/** The part of a file that the options mean. */
export function filePieceOf(
  file: object | number,
  options: MapOptions | undefined,
): Extent & { offset: number } {
  if (file instanceof GuestMemory) return pieceOf(file, options)
  const { offset = 0, size } = optionsOf(options, 'options')
  const page = pageSize()
  integer(offset, 'offset', 0, Number.MAX_SAFE_INTEGER)
  integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
  if (offset % page !== 0 || (size ?? 0) % page !== 0)
    throw new RangeError(`offset and size must be multiples of the page size (${String(page)} bytes)`)
  return { offset, size: size ?? 0, alignment: page, peer: false }
}
