// What the planners of the single changes share: the parts of a plan, and the rules that hold for any of them.

import { EINVAL, ENODEV, VfioError } from '../../errors.js'
import { formatBdf, parseBdf } from '../../host/bdf.js'
import { groupViability, readIommuGroup } from '../../host/groups.js'
import { hostUses } from '../../host/host-uses.js'
import { type PciDevice, readPciDevice } from '../../host/pci.js'
import { deviceUsers } from '../../host/users.js'
import { string } from '../../validate.js'
import type { ChangeOptions, GroupNeighbour, HostChange, Plan, Refusal } from './types.js'

export type Draft<C extends HostChange = HostChange> = Omit<Plan, 'schema' | 'bootId' | 'change'> & {
  readonly change: C
}

/** What a plan has beside its steps. */
export interface Remarks {
  readonly refusals: Refusal[]
  readonly warnings: string[]
  readonly notes: string[]
}

export const remarks = (): Remarks => ({ refusals: [], warnings: [], notes: [] })

/** The device of a change. */
export function pciDevice(address: string, name: string, options: ChangeOptions): PciDevice {
  const canonical = formatBdf(parseBdf(string(address, name)))
  const device = readPciDevice(canonical, options)
  if (device !== null) return device
  throw new VfioError(ENODEV, 'plan', {
    subject: canonical,
    reason: 'no-such-device',
    remedy: 'There is no such PCI device; `vfio ls` lists them.',
  })
}

/** Nothing of these directories may be open. */
export function refuseUsers(
  paths: readonly string[],
  { refusals, notes }: Remarks,
  options: ChangeOptions,
): void {
  const { users, hidden } = deviceUsers(paths, options)
  for (const { pid, command, node } of users) {
    const who =
      pid === process.pid ? 'this process' : `process ${pid}${command === null ? '' : ` (${command})`}`
    refusals.push({
      reason: 'in-use',
      what: `${who} has ${node} open`,
      remedy:
        'Taking a device from who has it open sleeps in the kernel, for ever if need be: close it there first.',
    })
  }
  if (hidden > 0)
    notes.push(`${hidden} processes do not show this user what they have open: as root, that is checked too`)
}

/** The host must not lose what it runs on. */
export function refuseHostUses(
  device: PciDevice,
  { refusals, warnings }: Remarks,
  options: ChangeOptions,
): void {
  for (const { kind, what } of hostUses(device.sysfsPath, options)) {
    if (kind === 'disk')
      refusals.push({
        reason: 'host',
        what: `${what} (${device.address})`,
        remedy:
          'Unmount it, swap it off or take it out of what it is part of; a disk in use is not given away.',
      })
    else warnings.push(`${what} (${device.address}): the host loses it`)
  }
}

/** The other members of a device's group, and whether each keeps it from user space once `taken` are with VFIO. */
export function neighboursOf(
  device: Pick<PciDevice, 'address' | 'iommuGroup'>,
  taken: ReadonlySet<string>,
  options: ChangeOptions,
): GroupNeighbour[] {
  if (device.iommuGroup === null) return []
  const group = readIommuGroup(device.iommuGroup, options)
  if (group === null) return []
  const offenders = new Set(groupViability(group).offenders.map(({ address }) => address))
  return group.members
    .filter(({ name }) => !taken.has(name))
    .map(({ name, driver }) => ({ name, driver, blocks: offenders.has(name) }))
}

export function invalid(what: string, remedy: string): VfioError {
  return new VfioError(EINVAL, 'plan', { subject: what, remedy })
}
