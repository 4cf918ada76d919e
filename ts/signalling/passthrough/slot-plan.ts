// Decides which parts of a BAR a guest reaches without an exit, and which accesses are trapped. Pure.
import type { RegionArea } from '../../uapi/vfio/device-info.js'

function subtract(areas: readonly RegionArea[], hole: RegionArea): RegionArea[] {
  const end = hole.offset + hole.size
  return areas.flatMap((area) => {
    const areaEnd = area.offset + area.size
    const before = { offset: area.offset, size: Math.min(areaEnd, hole.offset) - area.offset }
    const start = Math.max(area.offset, end)
    return [before, { offset: start, size: areaEnd - start }].filter(({ size }) => size > 0)
  })
}

function wholePages({ offset, size }: RegionArea, pageSize: number): RegionArea {
  const start = offset - (offset % pageSize)
  const end = Math.ceil((offset + size) / pageSize) * pageSize
  return { offset: start, size: end - start }
}

/**
 * The parts of a BAR that become memory slots: what VFIO maps, without the pages of `trapped` ranges, in whole pages that lie
 * inside the BAR. The rest of a BAR that ends inside a page is trapped: a guest may put another device's BAR behind it.
 * @param mapped `region.mmapAreas`
 * @param trapped the MSI-X table, its pending bits, and what the VMM wants to see
 * @param size bytes of the region
 */
export function planSlots(
  mapped: readonly RegionArea[],
  trapped: readonly RegionArea[],
  size: number,
  pageSize: number,
): RegionArea[] {
  const inside = size - (size % pageSize)
  const whole = mapped
    .map(({ offset, size: length }) => ({ offset, size: Math.min(offset + length, inside) - offset }))
    .filter((area) => area.size > 0)
  return trapped
    .filter((range) => range.size > 0)
    .reduce<RegionArea[]>((areas, range) => subtract(areas, wholePages(range, pageSize)), whole)
}
