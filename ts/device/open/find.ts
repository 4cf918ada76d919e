// The device by name, with everything checked that sysfs can tell before the kernel is asked.
import { EBUSY, ENODEV, VfioError, ofNode } from '../../errors.js'
import { type ResolvedDevice, isVfioMember, resolveDevice } from '../../host/index.js'
import { type Machine, lazyMachine } from '../../host/machine.js'
import { noGroup } from '../../host/remedies.js'
import { string } from '../../validate.js'
import type { Checked } from './options.js'

/** A device that is there. */
export type FoundDevice = ResolvedDevice & { iommuGroup: number }

/** What the host cannot be asked fails as everything else of an opening does. */
export function ofHost<T>(subject: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw ofNode(error, { subject })
  }
}

/** The device by name, with everything checked that sysfs can tell. */
export function findDevice(id: string, { sysfsRoot, devRoot }: Checked): FoundDevice {
  string(id, 'id')
  const found = ofHost(id, () => resolveDevice(id, { sysfsRoot, devRoot }))
  if (found === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: id,
      reason: 'no-such-device',
      remedy: `There is no such device under ${sysfsRoot}; list them with \`vfio ls\`.`,
    })
  }
  return checkFound(found, lazyMachine({ sysfsRoot, devRoot }))
}

/**
 * What sysfs has told of a device already, with everything checked that it can tell.
 * @param machine is asked only for what to say when something is missing
 */
export function checkFound(found: ResolvedDevice, machine: () => Machine = lazyMachine()): FoundDevice {
  if (found.iommuGroup === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: found.name,
      reason: 'no-iommu-group',
      remedy: noGroup(machine()),
    })
  }
  if (!isVfioMember(found)) throw notOnVfio(found)
  return { ...found, iommuGroup: found.iommuGroup }
}

function notOnVfio({ name, driver, sysfsPath }: ResolvedDevice): VfioError {
  if (driver === null) {
    return new VfioError(ENODEV, 'open', {
      subject: name,
      reason: 'no-driver',
      remedy: `The device has no driver: bind it to vfio-pci (echo vfio-pci > ${sysfsPath}/driver_override; echo ${name} > /sys/bus/pci/drivers_probe).`,
    })
  }
  return new VfioError(EBUSY, 'open', {
    subject: name,
    reason: 'wrong-driver',
    remedy: `The device is bound to ${driver}: unbind it and bind the device to vfio-pci.`,
  })
}
