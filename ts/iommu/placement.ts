// Where a mapping goes: what callers may ask for, and which addresses are tried in which order. One policy for every kind
// of address space.
import { ENOSPC, VfioError } from '../errors.js'
import { pageSize } from '../memory/page.js'
import type { IovaRange } from '../uapi/iova-range.js'
import { MAX_U64, bigint, boolean, options as optionsOf } from '../validate.js'
import type { Geometry, SpaceBackend } from './backend.js'

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

/** How much is to be placed, and at what multiple it is best placed. */
export interface Extent {
  readonly size: number
  /** That of the memory's pages, so that the IOMMU can use large ones. */
  readonly alignment: number
  /** Whether it is a device's own memory. */
  readonly peer: boolean
}

/** What is asked of a place. Whether a given IOVA is a usable one, the kernel is asked first (see `checkFixed`). */
export interface Placement {
  flags: number
  iova: bigint | undefined
  /** Undefined where anything goes, rather than a bound beyond all: comparing bigints is a call of the runtime. */
  below: bigint | undefined
}

const BEYOND_U64 = MAX_U64 + 1n
const EVERYTHING: readonly IovaRange[] = [{ start: 0n, last: MAX_U64 }]

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
      const found = backend.gap(start, last, size, alignment)
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
