// Where a mapping goes: what callers may ask for, and which addresses are tried in which order. One policy for every kind
// of address space.
import { readFileSync } from 'node:fs'

import { ENOSPC, VfioError, type VfioErrorContext } from '../errors.js'
import { addon } from '../native.js'
import { MAX_U64, bigint, boolean, integer, options as optionsOf } from '../validate.js'
import type { Geometry, Piece, SpaceBackend } from './backend.js'
import { DmaBuffer } from './dma-buffer.js'
import { GuestMemory, originOf } from './guest-memory.js'
import { PeerMemory } from './peer-memory.js'
import type { IovaRange } from './type1-info.js'

/** What may be mapped: memory of this package, a page-aligned view of it, or a device's own memory, its `Region`. */
export type Mappable = GuestMemory | DmaBuffer | ArrayBufferLike | ArrayBufferView | PeerMemory

export interface MapAccess {
  /** The device may read it (default true). */
  read?: boolean
  /** The device may write it (default true). */
  write?: boolean
}

export interface PlaceOptions extends MapAccess {
  /** Where the device shall see it; a multiple of the page size. Picked inside the valid ranges when absent. */
  iova?: bigint
  /** For devices with narrow DMA masks: every byte lies below this address. */
  below?: bigint
}

export interface MapOptions extends PlaceOptions {
  /** Bytes into the memory, a multiple of the page size (default 0). */
  offset?: number
  /** Bytes, a multiple of the page size (default: the rest of the memory). */
  size?: number
}

/** How much is to be placed, and at what multiple it is best placed. */
export interface Extent {
  readonly size: number
  /** That of the memory's pages, so that the IOMMU can use large ones. */
  readonly alignment: number
  /** Whether it is a device's own memory. */
  readonly peer: boolean
}

/** A part of memory that was checked. */
export type MemoryPiece = Extent & Piece

/** What is asked of a place. Whether a given IOVA is a usable one, the kernel is asked first (see `checkFixed`). */
export interface Placement {
  flags: number
  iova: bigint | undefined
  /** Undefined where anything goes, rather than a bound beyond all: comparing bigints is a call of the runtime. */
  below: bigint | undefined
}

const BEYOND_U64 = MAX_U64 + 1n
const EVERYTHING: readonly IovaRange[] = [{ start: 0n, last: MAX_U64 }]

let page: number | undefined

function pageSize(): number {
  return (page ??= addon().pageSize())
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`
}

export function span(iova: bigint, size: bigint): string {
  return `IOVA ${hex(iova)}-${hex(iova + size - 1n)}`
}

/** Before Linux 5.4 the kernel names none. */
export function rangesOf({ iovaRanges }: Geometry): readonly IovaRange[] {
  return iovaRanges.length > 0 ? iovaRanges : EVERYTHING
}

/** The smallest page of a mapping, in bytes. */
export function granuleOf({ pageSizes: [least] }: Geometry): bigint {
  return least ?? BigInt(pageSize())
}

export function checkPlacement(options: PlaceOptions | undefined, backend: SpaceBackend): Placement {
  const { read = true, write = true, iova, below } = optionsOf(options, 'options')
  boolean(read, 'read')
  boolean(write, 'write')
  if (!read && !write) throw new RangeError('read and write must not both be false')
  if (below !== undefined) bigint(below, 'below', 1n, BEYOND_U64)
  return { flags: backend.mapFlags(read, write), iova, below }
}

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

/** Whether a range of IOVAs lies inside one of the valid ranges. */
export function isUsable(geometry: Geometry, iova: bigint, size: bigint): boolean {
  return rangesOf(geometry).some(({ start, last }) => iova >= start && iova + size - 1n <= last)
}

/**
 * Says what is wrong with a given IOVA, once the kernel has refused it: asking beforehand for what is usable, and comparing,
 * would cost every mapping for the sake of the wrong ones.
 */
export function checkFixed(geometry: Geometry, iova: bigint, size: bigint): void {
  bigint(iova, 'iova', 0n, MAX_U64)
  const granule = granuleOf(geometry)
  if (iova % granule !== 0n)
    throw new RangeError(`iova must be a multiple of ${String(granule)}, not ${hex(iova)}`)
  if (isUsable(geometry, iova, size)) return
  const shown = rangesOf(geometry)
    .map(({ start, last }) => `${hex(start)}-${hex(last)}`)
    .join(', ')
  throw new RangeError(
    `iova must lie inside one of the valid ranges (${shown}); ${span(iova, size)} does not`,
  )
}

/** The start of a free range, or null. */
export type Gap = (start: bigint, last: bigint, size: bigint, alignment: bigint) => bigint | null

/** The IOVA that was asked for, if one was. */
export function givenOf({ iova, below }: Placement, { size }: Extent): bigint | undefined {
  if (iova === undefined) return undefined
  bigint(iova, 'iova', 0n, MAX_U64)
  if (below !== undefined && iova + BigInt(size) > below)
    throw new RangeError(`iova + size must not exceed below (${hex(below)})`)
  return iova
}

/** Free ranges for what may go anywhere, in the order to try; each try starts behind the one before. */
export function* candidates(
  backend: SpaceBackend,
  { size: bytes, alignment: wanted }: Extent,
  { below = BEYOND_U64 }: Placement,
  gap: Gap,
): Generator<bigint> {
  const geometry = backend.geometry()
  const size = BigInt(bytes)
  const granule = granuleOf(geometry)
  const alignment = BigInt(wanted) > granule ? BigInt(wanted) : granule
  for (const range of rangesOf(geometry)) {
    // Address 0 is where a device ends up that was told nothing: leave it unmapped, so that its mistakes fault.
    let start = range.start === 0n ? granule : range.start
    const last = range.last < below ? range.last : below - 1n
    while (start <= last) {
      const found = gap(start, last, size, alignment)
      if (found === null) break
      yield found
      start = found + alignment
    }
  }
  throw new VfioError(ENOSPC, backend.mapCall, {
    subject: `${String(bytes)} bytes${below > MAX_U64 ? '' : ` below ${hex(below)}`}`,
    reason: 'no-iova',
    remedy:
      'No free range of that size in iovaRanges, or in what allowIovas() allows: unmap something, or allow more addresses.',
  })
}

/** RLIMIT_MEMLOCK and what is locked, in words, for the error that they cause. */
function memlockContext(size: number): VfioErrorContext {
  let limit = 'RLIMIT_MEMLOCK'
  try {
    const soft = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    const locked = /^VmLck:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    const pinned = /^VmPin:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    limit = `RLIMIT_MEMLOCK (${soft ?? '?'} bytes; ${locked ?? '?'} KiB locked, ${pinned ?? '?'} KiB pinned)`
  } catch {
    // Without /proc the figures are missing, the advice stands.
  }
  return {
    reason: 'memlock-limit',
    remedy: `Mapped memory is pinned and counts against ${limit}; ${String(size)} bytes more do not fit: raise it (ulimit -l, LimitMEMLOCK=) or map less.`,
  }
}

/** What a refusal to map means. */
export function mapContext(
  backend: SpaceBackend,
  { size, peer }: Extent,
  iova: bigint,
  error: VfioError,
): VfioErrorContext {
  const context: VfioErrorContext = { subject: span(iova, BigInt(size)) }
  if (error.code === 'ENOMEM') return { ...context, ...memlockContext(size) }
  return { ...context, ...backend.explainMap(error, peer) }
}
