// IOMMU groups, their members, and what keeps a group from user space. It must not open or change anything:
// the kernel's own answer is VFIO_GROUP_GET_STATUS, this says why.

import { join } from 'node:path'
import { type Attempt, strictly } from './attempts.js'
import { readBus, readDriver, readVfioDev, type VfioDev } from './device.js'
import { array, integer, object } from '../validate.js'
import { checkHostOptions, type HostOptions, listNames, readText, resolvePath, sysfsRoot } from './sysfs.js'

/** A device in an IOMMU group. */
export interface IommuGroupMember {
  /** Its name on its bus: a PCI address, an mdev's UUID, a platform device's name. */
  readonly name: string
  /** Its bus, such as `pci`, `mdev` or `platform`; null if sysfs does not say. */
  readonly bus: string | null
  /** Name of its driver; null if it has none. */
  readonly driver: string | null
  /** VFIO's entry for it, null if VFIO does not have it (or before Linux 6.1). */
  readonly vfioDev: VfioDev | null
  /** Its directory, links followed. */
  readonly sysfsPath: string
}

/** Addresses that a group's devices cannot use, or can only use as they are. */
export interface ReservedRegion {
  readonly start: bigint
  /** The last address, not the one after it. */
  readonly end: bigint
  /** `direct`, `direct-relaxable`, `reserved` or `msi`. */
  readonly type: string
}

/** An IOMMU group: the smallest set of devices that the IOMMU can tell from the rest. */
export interface IommuGroup {
  readonly id: number
  /** What a driver named it, such as `vfio-noiommu`; most groups have no name. */
  readonly name: string | null
  /** Type of its default domain, such as `DMA`, `DMA-FQ` or `identity`; null if the kernel does not say. */
  readonly type: string | null
  /** Sorted by name. */
  readonly members: readonly IommuGroupMember[]
  readonly reservedRegions: readonly ReservedRegion[]
}

/** A member that keeps its group from being used. */
export interface GroupOffender {
  /** The member's name. */
  readonly address: string
  /** The driver that has to let it go. */
  readonly driver: string
}

/** Whether a group can be used from user space, and if not, because of whom. */
export interface GroupViability {
  readonly viable: boolean
  readonly offenders: readonly GroupOffender[]
}

/**
 * Host drivers that leave DMA to others (`driver_managed_dma`) and thus share a group with user space: the
 * driver of PCI Express ports and the one that only reserves. Before Linux 5.19 any driver of a bridge did.
 */
const NEUTRAL_DRIVERS: ReadonlySet<string> = new Set(['pcieport', 'pci-stub'])

function readMember(
  path: string,
  name: string,
  options: HostOptions,
  attempt: Attempt,
): IommuGroupMember | null {
  const sysfsPath = attempt(name, () => resolvePath(path, name), null)
  if (sysfsPath === null) return null
  return {
    name,
    bus: attempt(name, () => readBus(sysfsPath), null, 'subsystem'),
    driver: attempt(name, () => readDriver(sysfsPath), null, 'driver'),
    vfioDev: attempt(name, () => readVfioDev(sysfsPath, options), null, 'vfio-dev'),
    sysfsPath,
  }
}

function readReservedRegions(path: string): ReservedRegion[] {
  return (readText(path, 'reserved_regions') ?? '')
    .split('\n')
    .map(parseReservedRegion)
    .filter((region) => region !== null)
}

function parseReservedRegion(line: string): ReservedRegion | null {
  const match = /^(0x[0-9a-f]+)\s+(0x[0-9a-f]+)\s+(\S+)/i.exec(line)
  if (match === null) return null
  const [, start = '0', end = '0', type = ''] = match
  return { start: BigInt(start), end: BigInt(end), type }
}

const groupPath = (id: number, options: HostOptions): string =>
  join(sysfsRoot(options), 'kernel', 'iommu_groups', String(id))

/** A group's name alone, see {@link IommuGroup.name}; null also where there is no such group. */
export function readIommuGroupName(id: number, options: HostOptions): string | null {
  return readText(groupPath(id, options), 'name')
}

/**
 * Reads one group.
 * @returns null if there is no such group
 * @throws TypeError or RangeError if `id` is not a whole number from 0
 */
export function readIommuGroup(id: number, options: HostOptions = {}): IommuGroup | null {
  checkHostOptions(options)
  integer(id, 'id', 0, Number.MAX_SAFE_INTEGER)
  return examineIommuGroup(id, options, strictly)
}

/** Reads one group as {@link readIommuGroup} does; `attempt` gets each attribute that cannot be read. */
export function examineIommuGroup(id: number, options: HostOptions, attempt: Attempt): IommuGroup | null {
  const path = groupPath(id, options)
  const names = listNames(path, 'devices')
  if (names === null) return null
  const one = <T>(name: string, read: () => T, otherwise: T): T =>
    attempt(`IOMMU group ${id}`, read, otherwise, name)
  return {
    id,
    name: one('name', () => readIommuGroupName(id, options), null),
    type: one('type', () => readText(path, 'type'), null),
    members: names
      .sort()
      .map((name) => readMember(join(path, 'devices'), name, options, attempt))
      .filter((member) => member !== null),
    reservedRegions: one('reserved_regions', () => readReservedRegions(path), []),
  }
}

/** Every group that can be read, by number. */
export function examineIommuGroups(options: HostOptions, attempt: Attempt): IommuGroup[] {
  const list = (): string[] | null => listNames(sysfsRoot(options), 'kernel', 'iommu_groups')
  return (attempt('iommu_groups', list, null) ?? [])
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b)
    .flatMap((id) => attempt(`IOMMU group ${id}`, () => examineIommuGroup(id, options, attempt), null) ?? [])
}

/** Every IOMMU group, by number. Empty where the IOMMU is off, or there is no sysfs. */
export function listIommuGroups(options: HostOptions = {}): IommuGroup[] {
  checkHostOptions(options)
  return examineIommuGroups(options, strictly)
}

/**
 * The first region that the firmware keeps for a device of the group, one to one, and that the kernel does not give up (Intel's
 * RMRR, AMD's IVMD, Arm's RMR): it attaches no such group for user space. `direct-relaxable` does no harm.
 */
export function keptByFirmware(group: Pick<IommuGroup, 'reservedRegions'>): ReservedRegion | null {
  return group.reservedRegions.find(({ type }) => type === 'direct') ?? null
}

/** What VFIO names a group that it made itself, for a device that no IOMMU stands behind. */
export const NO_IOMMU_GROUP = 'vfio-noiommu'

/**
 * Whether a member is in the hands of VFIO: by its entry, or by the driver's name where the kernel is too old
 * to show one. The variant drivers are called `mlx5_vfio_pci`, `hisi-acc-vfio-pci`, `vfio-platform` and so
 * on. The drivers of mediated devices have names of their own, and none of them does DMA as that device.
 */
export function isVfioMember(member: Pick<IommuGroupMember, 'bus' | 'driver' | 'vfioDev'>): boolean {
  object(member, 'member')
  return member.vfioDev !== null || member.bus === 'mdev' || member.driver?.includes('vfio') === true
}

/**
 * Whether user space can have a group, as `VFIO_GROUP_FLAGS_VIABLE` says, and which members are in the way:
 * those that a host driver has which does DMA of its own. A member without a driver is not.
 */
export function groupViability(group: Pick<IommuGroup, 'members'>): GroupViability {
  const { members } = object(group, 'group')
  const offenders = array(members, 'group.members').flatMap((member) => {
    const { name, driver } = object(member, 'a member')
    if (driver === null || NEUTRAL_DRIVERS.has(driver) || isVfioMember(member)) return []
    return [{ address: name, driver }]
  })
  return { viable: offenders.length === 0, offenders }
}
