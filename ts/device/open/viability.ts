// Whether user space may have a group: it gets all of it or none. Knows what sysfs says; the kernel's own answer is asked for by
// who opens.
import { EBUSY, VfioError } from '../../errors.js'
import { type GroupOffender, groupViability, readIommuGroup } from '../../host/index.js'
import type { FoundDevice } from './find.js'
import type { Checked } from './options.js'

/** Devices of the group that host drivers hold. */
export function offendersOf(device: FoundDevice, options: Checked): readonly GroupOffender[] {
  const group = readIommuGroup(device.iommuGroup, options)
  return group === null ? [] : groupViability(group).offenders
}

/** They in words, with the drivers' names. */
export function namesOf(offenders: readonly GroupOffender[]): string {
  return offenders.map(({ address, driver }) => `${address} (${driver})`).join(', ')
}

/** The error that names who keeps a group from user space. */
export function notViable(device: FoundDevice, offenders: readonly GroupOffender[]): VfioError {
  const names = namesOf(offenders)
  return new VfioError(EBUSY, 'VFIO_GROUP_GET_STATUS', {
    subject: `group ${String(device.iommuGroup)} of ${device.name}`,
    reason: 'group-not-viable',
    remedy: `The group is given to user space as a whole; host drivers still hold ${names === '' ? 'a device in it' : names}: unbind them.`,
  })
}
