// Whether there is room for virtual functions: the bus numbers that the bridge above leaves, and addresses for their BARs. The kernel
// looks at both when it makes them, and says only "out of memory".

import { dirname } from 'node:path'
import { parseBdf } from './bdf.js'
import type { PciDevice } from './pci.js'
import { readUnsigned } from './sysfs.js'

/** Lines of `resource` that are BARs of virtual functions. */
const FIRST_VF_BAR = 7
const LAST_VF_BAR = 12
/** `IORESOURCE_UNSET`: it has a size, and no address. */
const UNSET = 0x2000_0000

/** Of one physical function. */
export interface VfRoom {
  /** How many have a bus number; null where the kernel does not tell. */
  readonly most: number | null
  /** The last bus of the bridge above. */
  readonly lastBus: number | null
  /** BARs of virtual functions, from 0, that the firmware and the kernel found no addresses for. */
  readonly unassigned: readonly number[]
}

/** Of function 0 to 0xff on the device's own bus, so many further routing ids. */
function countUpTo(lastBus: number, { bus, device, function: fn }: ReturnType<typeof parseBdf>): number {
  return (lastBus - bus + 1) * 0x100 - 1 - ((device << 3) | fn)
}

/** What is left for the functions of a physical one, whose `sriov_offset` and `sriov_stride` say where they are. */
export function readVfRoom({ address, sysfsPath, resources }: PciDevice): VfRoom {
  const offset = readUnsigned(0xffff, sysfsPath, 'sriov_offset')
  const stride = readUnsigned(0xffff, sysfsPath, 'sriov_stride')
  // A root bus has no bridge above, and ends where the host bridge's range does.
  const lastBus = readUnsigned(0xff, dirname(sysfsPath), 'subordinate_bus_number')
  const known = offset !== null && stride !== null && lastBus !== null
  const ids = known ? countUpTo(lastBus, parseBdf(address)) : 0
  return {
    most: !known || stride === 0 ? null : ids < offset ? 0 : Math.floor((ids - offset) / stride) + 1,
    lastBus,
    unassigned: resources
      .filter(({ index }) => index >= FIRST_VF_BAR && index <= LAST_VF_BAR)
      .filter(({ start, flags }) => start === 0n || (flags & UNSET) !== 0)
      .map(({ index }) => index - FIRST_VF_BAR),
  }
}
