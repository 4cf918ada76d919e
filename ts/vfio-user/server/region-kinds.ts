// Chooses what answers a region: registers, memory or both, with the MSI-X table or doorbells in it.
import { bytes as bytesOf, array, callable } from '../../validate.js'
import { BelledRegion, type Bell, checkDoorbell } from './doorbell.js'
import type { MsixTable } from './msix-table.js'
import type { UserDeviceHandlers } from './options.js'
import type { PlacedRegion } from './placement.js'
import {
  BackedRegion,
  DividedRegion,
  HandledRegion,
  type RegionPart,
  type ServedRegion,
  isHandled,
} from './region.js'

const ROM = 6

/** The doorbells of a region. */
export interface BelledPart {
  readonly index: number
  readonly bells: readonly Bell[]
}

function memoryOf(region: PlacedRegion): Uint8Array | null {
  const { memory, memoryOffset, size, options, name } = region
  if (memory !== null) return new Uint8Array(memory.window(memoryOffset, size))
  const { plain = false } = options
  if (typeof plain === 'boolean') return plain ? new Uint8Array(size) : null
  const given = bytesOf(plain, `regions.${name}.plain`)
  if (given.byteLength !== size) throw new RangeError(`regions.${name}.plain must have ${size} bytes`)
  return given
}

/** Memory where the client may map it, and registers beside it. */
function beside(region: PlacedRegion, memory: Uint8Array, registers: ServedRegion): ServedRegion {
  const areas = region.areas ?? []
  const parts = areas.map(({ offset, size }): RegionPart => ({
    offset,
    end: offset + size,
    region: new BackedRegion(memory.subarray(offset, offset + size)),
  }))
  return new DividedRegion(registers, parts)
}

function base(region: PlacedRegion, handlers: UserDeviceHandlers): ServedRegion {
  const memory = memoryOf(region)
  if (memory === null) return new HandledRegion(region.name, region.options, handlers)
  const { read, write } = region.options
  // A region that is all memory asks nobody, also where other regions have handlers.
  const registers = region.memory !== null && region.areas !== null && isHandled(region.options, handlers)
  if (!registers)
    return new BackedRegion(memory, region.index === ROM && read === undefined && write === undefined)
  return beside(region, memory, new HandledRegion(region.name, region.options, handlers))
}

/** @param table the MSI-X table, where this region is its */
export function serveRegion(
  region: PlacedRegion,
  handlers: UserDeviceHandlers,
  table: MsixTable | null,
): { readonly region: ServedRegion; readonly bells: readonly BelledPart[] } {
  const { options, name, index, size } = region
  for (const each of ['read', 'write', 'read64', 'write64'] as const)
    if (options[each] !== undefined) callable(options[each], `regions.${name}.${each}`)
  const bells = array(options.doorbells ?? [], `regions.${name}.doorbells`).map((bell, i) =>
    checkDoorbell(bell, size, `regions.${name}.doorbells[${i}]`),
  )
  let served = base(region, handlers)
  if (table !== null) served = new DividedRegion(served, table.parts)
  if (bells.length === 0) return { region: served, bells: [] }
  return { region: new BelledRegion(served, bells), bells: [{ index, bells }] }
}
