// Checks the regions and interrupts that an author declares, and decides what he left open: which BARs are how wide, and which
// one holds the MSI-X table. Plain values in and out.
import { PCI_REGIONS } from '../../device/names.js'
import { GuestMemory } from '../../memory/guest-memory.js'
import { pageSize } from '../../memory/page.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'
import { array, boolean, integer, instance, object, oneOf } from '../../validate.js'
import type { MsixOptions, UserIrqOptions, UserRegionName, UserRegionOptions } from './options.js'

export const MSIX_ENTRY_BYTES = 16
const BARS = 6
const ROM = 6
const LEAST_MEMORY = 16
const LEAST_PORTS = 4
const MOST_PORTS = 256
const MOST_32_BIT = 2 ** 31
const MOST_SIZE = 2 ** 46
const MOST_ROM = 2 ** 24
const MOST_MSIX = 2048
const LEAST_TABLE_BAR = 4096

/** The names of regions that an author declares, by index. */
export const USER_REGIONS = PCI_REGIONS.slice(0, ROM + 1) as readonly UserRegionName[]

/** A region, checked. */
export interface PlacedRegion {
  readonly index: number
  readonly name: UserRegionName
  readonly size: number
  /** What its register shows: a power of two. */
  readonly registerSize: number
  readonly io: boolean
  readonly is64Bit: boolean
  readonly prefetchable: boolean
  readonly memory: GuestMemory | null
  readonly memoryOffset: number
  /** What the client may map; null for all of the region. */
  readonly areas: readonly RegionArea[] | null
  readonly options: UserRegionOptions
}

function powerOfTwo(size: number): boolean {
  return Number.isInteger(Math.log2(size))
}

function checkAreas(areas: readonly RegionArea[], size: number, name: string): void {
  const page = pageSize()
  let end = 0
  array(areas, `${name}.mmapAreas`).forEach((area, i) => {
    const at = `${name}.mmapAreas[${i}]`
    integer(object(area, at).offset, `${at}.offset`, 0, size - 1)
    integer(area.size, `${at}.size`, 1, size - area.offset)
    // QEMU does not map such an area, and traps the accesses to it.
    if (area.offset % page !== 0 || area.size % page !== 0)
      throw new RangeError(`${at} must be in whole pages of ${page} bytes`)
    if (area.offset < end) throw new RangeError(`${at} must lie behind the one before`)
    end = area.offset + area.size
  })
}

/** What the client may map: null for all, an empty list for nothing. */
function areasOf(options: UserRegionOptions, size: number, name: string): readonly RegionArea[] | null {
  const { memory, memoryOffset = 0, mmapAreas } = options
  if (memory === undefined) {
    if (mmapAreas !== undefined) throw new TypeError(`${name}.mmapAreas is for a region with memory`)
    return []
  }
  instance(memory, GuestMemory, `${name}.memory`)
  if (options.plain !== undefined && options.plain !== false)
    throw new TypeError(`${name} must have memory or be plain, not both`)
  integer(memoryOffset, `${name}.memoryOffset`, 0, Number.MAX_SAFE_INTEGER)
  if (memoryOffset % pageSize() !== 0) throw new RangeError(`${name}.memoryOffset must be in whole pages`)
  // A client that maps an area beyond the file's end dies of it.
  if (memoryOffset + size > memory.size)
    throw new RangeError(`${name}.memory has ${memory.size} bytes, fewer than the region needs`)
  if (mmapAreas !== undefined) {
    checkAreas(mmapAreas, size, name)
    return mmapAreas
  }
  return size % pageSize() === 0 ? null : []
}

function placeBar(index: number, options: UserRegionOptions, name: UserRegionName): PlacedRegion {
  const { io = false, prefetchable = false } = options
  boolean(io, `${name}.io`)
  boolean(prefetchable, `${name}.prefetchable`)
  const least = io ? LEAST_PORTS : LEAST_MEMORY
  const size = integer(options.size, `${name}.size`, least, io ? MOST_PORTS : MOST_SIZE)
  if (!powerOfTwo(size)) throw new RangeError(`${name}.size must be a power of two, not ${size}`)
  const is64Bit = boolean(options.is64Bit ?? (!io && size > MOST_32_BIT), `${name}.is64Bit`)
  if (io && (is64Bit || prefetchable)) throw new RangeError(`${name} is of ports: 32 bits, not prefetchable`)
  if (!is64Bit && size > MOST_32_BIT) throw new RangeError(`${name}.size above 2 GiB needs a BAR of 64 bits`)
  if (is64Bit && index === BARS - 1)
    throw new RangeError(`${name} cannot have 64 bits: there is no number after it`)
  const areas = areasOf(options, size, name)
  const { memory = null, memoryOffset = 0 } = options
  return {
    index,
    name,
    size,
    registerSize: size,
    io,
    is64Bit,
    prefetchable,
    memory,
    memoryOffset,
    areas,
    options,
  }
}

function placeRom(options: UserRegionOptions): PlacedRegion {
  const size = integer(options.size, 'rom.size', 1, MOST_ROM)
  const { memory = null, memoryOffset = 0 } = options
  const areas = areasOf({ ...options, ...(memory !== null && { mmapAreas: [] }) }, size, 'rom')
  const registerSize = 2 ** Math.ceil(Math.log2(size))
  return {
    index: ROM,
    name: 'rom',
    size,
    registerSize,
    io: false,
    is64Bit: false,
    prefetchable: false,
    memory,
    memoryOffset,
    areas,
    options,
  }
}

/** The regions that are declared, by ascending index. @throws TypeError, RangeError */
export function placeRegions(
  declared: Partial<Readonly<Record<UserRegionName, UserRegionOptions>>>,
): PlacedRegion[] {
  for (const name of Object.keys(object(declared, 'regions')))
    oneOf(name, 'the name of a region', USER_REGIONS)
  const placed: PlacedRegion[] = []
  USER_REGIONS.forEach((name, index) => {
    const options = declared[name]
    if (options === undefined) return
    object(options, `regions.${name}`)
    const before = placed.at(-1)
    if (before?.is64Bit === true && before.index === index - 1)
      throw new RangeError(`${name} is the upper half of ${before.name}, which has 64 bits`)
    placed.push(index === ROM ? placeRom(options) : placeBar(index, options, name))
  })
  return placed
}

/** A device's interrupts, checked. */
export interface PlacedIrqs {
  readonly intx: boolean
  readonly msi: number
  readonly msix: MsixOptions | null
  /** The region that was made for the MSI-X table; null where there is none, or the author has one. */
  readonly made: PlacedRegion | null
}

export function placeIrqs(irqs: UserIrqOptions, regions: readonly PlacedRegion[]): PlacedIrqs {
  const { intx = false, msi = 0, msix } = object(irqs, 'irqs')
  boolean(intx, 'irqs.intx')
  integer(msi, 'irqs.msi', 0, 32)
  if (msi !== 0 && !powerOfTwo(msi)) throw new RangeError('irqs.msi must be a power of two')
  if (msix === undefined || msix === 0) return { intx, msi, msix: null, made: null }
  if (typeof msix === 'number')
    return { intx, msi, ...ownTable(integer(msix, 'irqs.msix', 1, MOST_MSIX), regions) }
  return { intx, msi, msix: checkTable(msix, regions), made: null }
}

/** A BAR of its own: the table in its first half, the pending bits in its second. */
function ownTable(
  vectors: number,
  regions: readonly PlacedRegion[],
): { msix: MsixOptions; made: PlacedRegion } {
  const taken = (index: number): boolean =>
    regions.some((each) => each.index === index || (each.is64Bit && each.index === index - 1))
  const index = Array.from({ length: BARS }, (_, i) => i).find((each) => !taken(each))
  const name = index === undefined ? undefined : USER_REGIONS[index]
  if (index === undefined || name === undefined)
    throw new RangeError('irqs.msix needs a BAR for its table: say where it lies in one of yours')
  const size = Math.max(LEAST_TABLE_BAR, 2 * 2 ** Math.ceil(Math.log2(vectors * MSIX_ENTRY_BYTES)))
  return {
    msix: { vectors, region: name, table: 0, pba: size / 2 },
    made: placeBar(index, { size, plain: true }, name),
  }
}

function checkTable(msix: MsixOptions, regions: readonly PlacedRegion[]): MsixOptions {
  const { vectors, region, table, pba } = object(msix, 'irqs.msix')
  integer(vectors, 'irqs.msix.vectors', 1, MOST_MSIX)
  const home = regions.find(({ name, io, index }) => name === region && !io && index < BARS)
  if (home === undefined) throw new RangeError(`irqs.msix.region must be a memory BAR that is declared`)
  const bytes = { table: vectors * MSIX_ENTRY_BYTES, pba: Math.ceil(vectors / 64) * 8 }
  const parts = [
    { name: 'table', offset: table, size: bytes.table },
    { name: 'pba', offset: pba, size: bytes.pba },
  ]
  for (const { name, offset, size } of parts) {
    integer(offset, `irqs.msix.${name}`, 0, home.size - size)
    if (offset % 8 !== 0) throw new RangeError(`irqs.msix.${name} must be a multiple of 8`)
    const mapped = home.areas ?? [{ offset: 0, size: home.size }]
    if (mapped.some((area) => offset < area.offset + area.size && area.offset < offset + size))
      throw new RangeError(
        `irqs.msix.${name} must not lie in what the client may map: give ${home.name} mmapAreas`,
      )
  }
  if (table < pba + bytes.pba && pba < table + bytes.table)
    throw new RangeError('irqs.msix.table and irqs.msix.pba must not overlap')
  return { vectors, region, table, pba }
}
