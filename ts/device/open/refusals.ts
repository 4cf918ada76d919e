// What the refusals of opening mean, by node and errno, in words. Each cause is said once, whichever way it stands in.
import {
  EACCES,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  EPERM,
  VfioError,
  type VfioErrorContext,
} from '../../errors.js'
import { readMachine } from '../../host/machine.js'
import { noContainerNodeRemedy, unsafeInterrupts } from '../../host/remedies.js'
import type { FoundDevice } from './find.js'
import type { Checked } from './options.js'
import { notViable, offendersOf } from './viability.js'

type Refusal = Pick<VfioError, 'code'>

function permission(node: string, what: 'device' | 'group'): VfioErrorContext {
  return {
    subject: node,
    reason: 'permission',
    remedy: `Run as root, or give yourself the ${what}: chown $USER ${node}.`,
  }
}

/** A virtual function whose physical function is on vfio. */
function tokenRefused(subject: string, vfToken: string | undefined): VfioErrorContext {
  return {
    subject,
    reason: 'permission',
    remedy:
      vfToken === undefined
        ? 'The physical function is bound to VFIO with a token: pass it as vfToken.'
        : 'The physical function does not know this vfToken.',
  }
}

/** Another device of the group is open in this process, and all of a group are in one space. */
export function otherSpace(name: string, call: string): VfioError {
  return new VfioError(EBUSY, call, {
    subject: name,
    reason: 'other-address-space',
    remedy:
      'Another device of its group is open in a different AddressSpace: pass that space as `iommu`, or close the other device.',
  })
}

// -- a device's own node --

/** What the errno of opening a device's node means. */
export function nodeContext(node: string, { code }: Refusal): VfioErrorContext {
  if (code === 'EACCES' || code === 'EPERM') return permission(node, 'device')
  if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV') {
    return {
      subject: node,
      reason: 'no-cdev',
      remedy: 'The device has left its vfio driver, or udev made no node.',
    }
  }
  return { subject: node }
}

export function noNode(name: string): VfioError {
  return new VfioError(ENOENT, 'open', {
    subject: name,
    reason: 'no-cdev',
    remedy:
      "The device has no node of its own (Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV, and an IOMMU): open it by its group, iommu: 'type1v2'.",
  })
}

/** What the errno of VFIO_DEVICE_BIND_IOMMUFD means. */
export function bindContext(
  device: FoundDevice,
  node: string,
  options: Checked,
  { errno }: VfioError,
): VfioErrorContext {
  const subject = device.name
  const { vfToken, sysfsRoot, devRoot } = options
  if (errno === EACCES) return tokenRefused(subject, vfToken)
  // The kernel looks at the group's interrupts before it looks for owners: these come first here.
  const offenders = errno === EBUSY || errno === EPERM ? offendersOf(device, options) : []
  if (offenders.length > 0) {
    const { remedy = '' } = notViable(device, offenders)
    return { subject, reason: 'group-not-viable', remedy }
  }
  if (errno === EPERM) {
    return {
      subject,
      reason: 'unsafe-interrupts',
      remedy: unsafeInterrupts(readMachine({ sysfsRoot, devRoot }), 'iommufd'),
    }
  }
  if (errno === EBUSY) {
    return {
      subject,
      reason: 'group-busy',
      remedy: `A device of its IOMMU group is open through the group, or in another iommufd: find it with \`fuser -v ${devRoot}/vfio/${String(device.iommuGroup)}\`.`,
    }
  }
  if (errno === EINVAL) {
    return {
      subject,
      reason: 'device-busy',
      remedy:
        vfToken === undefined
          ? `The device is open already, and its node opens once: find who has it with \`fuser -v ${node}\`.`
          : 'The device is open already, or the kernel takes no token here (before Linux 6.18, or no virtual function).',
    }
  }
  return { subject }
}

/** What the errno of VFIO_DEVICE_ATTACH_IOMMUFD_PT means. */
export function attachContext({ name }: FoundDevice, { errno }: VfioError): VfioErrorContext {
  if (errno === EINVAL || errno === EBUSY) {
    return {
      subject: name,
      remedy:
        'The IOMMUs of the devices in one AddressSpace must be compatible, and no mapping may lie where the device keeps addresses for itself: open it in a space of its own.',
    }
  }
  return { subject: name }
}

// -- a group --

/** What the errno of opening a group means. */
export function groupContext(path: string, { code }: Refusal): VfioErrorContext {
  if (code === 'EBUSY') {
    return {
      subject: path,
      reason: 'group-busy',
      remedy: `Another process has the group open, and a group opens once: find it with \`fuser -v ${path}\`.`,
    }
  }
  if (code === 'EACCES' || code === 'EPERM') return permission(path, 'group')
  if (code === 'ENOENT' || code === 'ENXIO') {
    return {
      subject: path,
      reason: 'no-group-node',
      remedy:
        'No device of the group is on a vfio driver (or udev made no node for it): bind the device to vfio-pci.',
    }
  }
  return { subject: path }
}

export function noContainerNode(node: string, { sysfsRoot, devRoot }: Checked): VfioError {
  return new VfioError(ENOENT, 'open', {
    subject: node,
    reason: 'no-vfio-module',
    remedy: noContainerNodeRemedy(readMachine({ sysfsRoot, devRoot })),
  })
}

/** A group was asked for with an IOMMU that it has not, or the reverse. */
export function bareness(group: number, bare: boolean): VfioError {
  return new VfioError(EPERM, 'open', {
    subject: `group ${String(group)}`,
    reason: 'no-iommu',
    remedy: bare
      ? "The device has no IOMMU, so it can reach all memory of the host. Pass iommu: 'noiommu' to open it anyway."
      : 'The device has an IOMMU, and VFIO always uses it: leave out the option iommu.',
  })
}

/** What the errno of putting a group into a container means. */
export function containerContext(name: string, { code }: VfioError): VfioErrorContext {
  if (code === 'EINVAL' || code === 'EBUSY') {
    return {
      subject: name,
      remedy:
        'The IOMMUs of the devices in one AddressSpace must be compatible: open this one in a space of its own.',
    }
  }
  return { subject: name }
}

/** What the errno of VFIO_GROUP_GET_DEVICE_FD means. */
export function deviceContext(
  name: string,
  vfToken: string | undefined,
  { errno }: VfioError,
): VfioErrorContext {
  if (errno === EACCES) return tokenRefused(name, vfToken)
  if (errno === EINVAL || errno === ENODEV)
    return { subject: name, remedy: 'The device has left its vfio driver.' }
  if (errno === EBUSY)
    return { subject: name, remedy: 'The device is open already, here or as a cdev elsewhere.' }
  return { subject: name }
}
