// The page tables that track dirty pages for an IOAS: its devices are put on tables that are made for it, shared where their
// IOMMUs let them be. Which tables there are is native, because Workers share the space.
import { type VfioError, attempt } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'

/** Whether the tables of a space can track dirty pages, and whether they do. */
export const TRACKING = { none: 0, possible: 1, running: 2 } as const

const ALLOC_DIRTY_TRACKING = 1 << 1 // IOMMU_HWPT_ALLOC_DIRTY_TRACKING
const ALLOC_PASID = 1 << 3 // IOMMU_HWPT_ALLOC_PASID

/** Lets them go. */
export function release(tables: readonly NativeHandle[]): void {
  for (const table of tables) addon().handleRelease(table, false)
}

/** Has the space's devices put on tables that can track; for a space without devices. */
export function prepareTracking(ioas: NativeHandle): void {
  release(addon().ioasTrack(ioas, TRACKING.possible))
}

/** Whether a device comes on a table of `tablesFor` rather than on the IOAS itself. */
export function tracks(ioas: NativeHandle): boolean {
  return addon().ioasTracking(ioas) !== TRACKING.none
}

/**
 * The page tables to try for a device, in order, for the caller to let go: those that are there, a new one, and what came
 * meanwhile, for the devices of one IOMMU group must be on one table.
 * @throws VfioError EOPNOTSUPP when a new one is needed and the IOMMU cannot track dirty pages
 */
export function* tablesFor(
  ioas: NativeHandle,
  deviceId: number,
  pasid: number | null,
): Generator<NativeHandle> {
  const tried = new Set<number>()
  for (let made = false; ; made = true) {
    const tables = addon().ioasTables(ioas)
    try {
      for (let table = tables.shift(); table !== undefined; table = tables.shift()) {
        const id = addon().iommufdObjectId(table)
        if (tried.has(id)) {
          release([table])
          continue
        }
        tried.add(id)
        yield table
      }
    } finally {
      release(tables)
    }
    if (made) return
    const table = makeTable(ioas, deviceId, pasid)
    tried.add(addon().iommufdObjectId(table))
    yield table
  }
}

function makeTable(ioas: NativeHandle, deviceId: number, pasid: number | null): NativeHandle {
  const flags = ALLOC_DIRTY_TRACKING | (pasid === null ? 0 : ALLOC_PASID)
  const table = attempt(untrackable, () => addon().hwptAlloc(ioas, deviceId, flags, 0, null, null))
  // Before any device is on it: whose group it is to be shared with looks for it when its own is refused.
  if (addon().ioasAddTable(ioas, table) === TRACKING.running) addon().hwptSetDirtyTracking(table, true)
  return table
}

function untrackable({ code }: VfioError): { remedy?: string } {
  if (code !== 'EOPNOTSUPP') return {}
  return {
    remedy:
      'The IOMMU behind the device cannot track dirty pages (device.hwInfo().capabilities.dirtyTracking), and the AddressSpace was opened with dirtyTracking: open it without, or use iommu: type1v2, which counts every page that it pins.',
  }
}
