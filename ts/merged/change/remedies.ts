// What the kernel means when it refuses a write to the host, by file and errno. It must not know what is being changed.

import { basename } from 'node:path'
import type { VfioError } from '../../errors.js'
import { type Machine, readMachine } from '../../host/machine.js'
import { noRoomForVfs } from '../../host/remedies.js'
import type { HostOptions } from '../../host/sysfs.js'

/** A sentence, or one that depends on the machine. */
type Remedy = string | ((machine: Machine) => string)

const KNOWN: Readonly<Record<string, Remedy>> = {
  'sriov_numvfs EBUSY': 'The device already has virtual functions; set the number to 0 first.',
  'sriov_numvfs ENOENT': "The physical function's driver cannot make virtual functions, or it has no driver.",
  'sriov_numvfs ERANGE': 'The device supports fewer virtual functions: see sriov_totalvfs.',
  'sriov_numvfs ENOMEM': noRoomForVfs,
  'sriov_numvfs EINVAL':
    'The driver does not support this number of virtual functions: see its documentation and dmesg.',
  'sriov_numvfs EPERM':
    'Guests use virtual functions, or the physical function is on vfio-pci and vfio_pci.enable_sriov is off.',
  'unbind ENODEV': 'The device is on another driver by now: plan again.',
  'bind ENODEV': 'The driver refused the device, or driver_override names another driver: see dmesg.',
  'bind EBUSY': 'The device is on another driver by now.',
  'bind EINVAL': 'The driver refused the device: see dmesg.',
  'drivers_probe EINVAL': 'The driver could not initialize the device: see dmesg.',
  'create EEXIST': 'A mediated device with that UUID already exists.',
  'create ENOSPC': 'The parent has no capacity for another device of that type.',
  // EUSERS
  'create errno 87': 'The parent has no capacity for another device of that type.',
  'remove EBUSY': 'A guest has the mediated device open: close it there first.',
  'current_vgpu_type EBUSY': 'A guest has the virtual function open: close it there first.',
  'current_vgpu_type EINVAL': 'The virtual function cannot become that type now: see creatable_vgpu_types.',
}

const remedyOf = (remedy: Remedy | undefined, options: HostOptions): string | undefined =>
  typeof remedy === 'function' ? remedy(readMachine(options)) : remedy

/** The same error, with what to do about it. */
export function withRemedy(error: VfioError, options: HostOptions = {}): VfioError {
  const { code, subject = '', remedy } = error
  if (remedy !== undefined) return error
  const known = remedyOf(KNOWN[`${basename(subject)} ${code}`], options)
  if (code === 'EACCES' || code === 'EPERM') {
    return error.with({
      reason: 'permission',
      remedy: known ?? 'Only root can change the host: run it as root.',
    })
  }
  if (code === 'EROFS')
    return error.with({
      reason: 'permission',
      remedy: 'sysfs is mounted read-only here, as in a container: change the host from outside.',
    })
  return known === undefined ? error : error.with({ remedy: known })
}
