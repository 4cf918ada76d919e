// What the planners of the single changes share: the parts of a plan, and the rules that hold for any of them.

import { EINVAL, ENODEV, VfioError } from '../../errors.js'
import { formatBdf, parseBdf } from '../../host/bdf.js'
import { groupViability, readIommuGroup } from '../../host/groups.js'
import { type PciDevice, readPciDevice } from '../../host/pci.js'
import type { DeviceUse, Unseen } from '../../host/usage/types.js'
import { deviceUsage } from '../../host/usage/usage.js'
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
  readonly unseen: Unseen[]
}

export const remarks = (): Remarks => ({ refusals: [], warnings: [], notes: [], unseen: [] })

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

/** A use in the words of a plan; of a device, where the use does not name one. */
export const useText = ({ kind, what, device }: DeviceUse): string =>
  kind === 'disk' || kind === 'network' || kind === 'screen' ? `${what} (${device})` : what

/**
 * Nobody may lose the devices in these directories, nor those below them, while they are used. Whatever takes a device from its
 * driver, or takes it away, comes here first.
 * @param but a kind of use that the change itself ends
 */
export function refuseUses(
  paths: readonly string[],
  { refusals, warnings, unseen }: Remarks,
  options: ChangeOptions,
  but?: DeviceUse['kind'],
): void {
  const usage = deviceUsage(paths, options)
  for (const use of usage.uses.filter(({ kind }) => kind !== but)) {
    if (use.mustEnd)
      refusals.push({
        reason: use.kind === 'open' ? 'in-use' : 'host',
        what: useText(use),
        remedy: use.remedy,
      })
    else warnings.push(`${useText(use)}: the host would lose it`)
  }
  unseen.push(...usage.unseen)
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
