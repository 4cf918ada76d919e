// Decides which parts of a region to map, in whole pages. It must not know how a region was described or who
// calls mmap: a pure function of the numbers that the region info and the MSI-X capability give.

/** A range inside a region, in bytes. */
export interface MmapArea {
  /** From the start of the region. */
  readonly offset: number
  readonly size: number
}

/** What {@link planMmapAreas} decides from. */
export interface MmapPlanInput {
  /** `vfio_region_info.size`, in bytes. */
  readonly size: number
  /** `VFIO_REGION_INFO_FLAG_MMAP`. */
  readonly mmap: boolean
  /** The areas of `VFIO_REGION_INFO_CAP_SPARSE_MMAP`; null if the region does not have that capability. */
  readonly sparseAreas: readonly MmapArea[] | null
  /** Where the MSI-X table lies in this region; null if it lies elsewhere. */
  readonly msixTable: MmapArea | null
  /** Whether the region has `VFIO_REGION_INFO_CAP_MSIX_MAPPABLE` (Linux 4.16). */
  readonly msixMappable: boolean
  /** The kernel's page size, in bytes: 4096, 16384 or 65536. */
  readonly pageSize: number
}

/** Far above every kernel's base page; keeps the check for a power of two inside 32 bits. */
const MAX_PAGE_SIZE = 2 ** 30

/** From `start` up to, not including, `end`. */
interface Span {
  readonly start: number
  readonly end: number
}

/** Not by bits: a BAR can be larger than 32-bit arithmetic holds. */
function alignDown(value: number, unit: number): number {
  return value - (value % unit)
}

function alignUp(value: number, unit: number): number {
  return alignDown(value + unit - 1, unit)
}

function requireBytes(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${name} is ${value}: it must be a number of bytes from 0 to 2^53 - 1`)
  }
}

function requireArea(name: string, area: MmapArea): void {
  requireBytes(`${name}.offset`, area.offset)
  requireBytes(`${name}.size`, area.size)
}

/** The whole pages inside each area; what reaches the end of the region also gets the region's last page. */
function pagesOf(areas: readonly MmapArea[], regionSize: number, pageSize: number): Span[] {
  const spans: Span[] = []
  for (const { offset, size } of areas) {
    const start = alignUp(offset, pageSize)
    const stop = Math.min(offset + size, regionSize)
    const end = stop === regionSize ? alignUp(stop, pageSize) : alignDown(stop, pageSize)
    if (start < end) spans.push({ start, end })
  }
  return spans.sort((a, b) => a.start - b.start || a.end - b.end)
}

/**
 * Joins spans that overlap. Those that only touch stay apart: a driver that lists two areas answers for a
 * mapping of either, not for one across both.
 */
function mergeOverlaps(spans: readonly Span[]): Span[] {
  const merged: Span[] = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last !== undefined && span.start < last.end) {
      merged[merged.length - 1] = { start: last.start, end: Math.max(last.end, span.end) }
    } else {
      merged.push(span)
    }
  }
  return merged
}

function subtract(spans: readonly Span[], hole: Span): Span[] {
  return spans
    .flatMap(({ start, end }) => [
      { start, end: Math.min(end, hole.start) },
      { start: Math.max(start, hole.end), end },
    ])
    .filter(({ start, end }) => start < end)
}

/**
 * Plans the mappings of one region. Every area begins on a page boundary and is whole pages long; areas are
 * sorted and do not overlap. The list is empty when nothing may be mapped.
 *
 * The last area can reach past `size`, up to the end of its page: bound accesses by the region's size, never
 * by the area's. Rounding up asks for nothing that the kernel does not give: mmap rounds every length up to a
 * page before the driver sees it, and vfio-pci compares it with the BAR's length rounded up likewise. For a
 * BAR smaller than a page the flag itself is the promise: vfio-pci sets it only when the BAR begins on a page
 * boundary and the rest of that page could be reserved, so that no other device's registers are in it. Hence
 * no flag, no area.
 *
 * Pages that hold any of the MSI-X table are left out unless the region says they may be mapped; before Linux
 * 4.16 such an mmap fails. That applies to sparse areas as well.
 *
 * @throws RangeError if a size or offset is not a safe integer from 0, or `pageSize` no power of two
 */
export function planMmapAreas(input: MmapPlanInput): MmapArea[] {
  const { size, mmap, sparseAreas, msixTable, msixMappable, pageSize } = input
  requireBytes('size', size)
  if (
    !Number.isInteger(pageSize) ||
    pageSize < 1 ||
    pageSize > MAX_PAGE_SIZE ||
    (pageSize & (pageSize - 1)) !== 0
  ) {
    throw new RangeError(`pageSize is ${pageSize}: it must be a power of two, at most ${MAX_PAGE_SIZE}`)
  }
  sparseAreas?.forEach((area, index) => requireArea(`sparseAreas[${index}]`, area))
  if (msixTable !== null) requireArea('msixTable', msixTable)
  if (!mmap) return []

  const offered = mergeOverlaps(pagesOf(sparseAreas ?? [{ offset: 0, size }], size, pageSize))
  const allowed =
    msixTable === null || msixMappable || msixTable.size === 0
      ? offered
      : subtract(offered, {
          start: alignDown(msixTable.offset, pageSize),
          end: alignUp(msixTable.offset + msixTable.size, pageSize),
        })
  return allowed.map(({ start, end }) => ({ offset: start, size: end - start }))
}
