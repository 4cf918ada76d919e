// The KVM-VFIO device of a machine: which files of VFIO's KVM knows. Knows nothing of what such a file is.
import { attempt } from '../errors.js'
import { addon, type NativeHandle } from '../native/index.js'
import { integer, object } from '../validate.js'

/** What KVM needs of a VfioDevice. */
export interface VfioFile {
  readonly name: string
  readonly fd: number
  /** The descriptor by which KVM knows it; null for one that is not the kernel's. @internal */
  readonly vfioFileFd: number | null
}

/** The KVM-VFIO device: which VFIO devices KVM knows (KVM_DEV_VFIO_FILE). Drivers such as GVT-g demand it. */
export interface VmVfio {
  /** A device, or the descriptor of a group or of a device's cdev. Counted: two devices may share a group. */
  add(device: VfioFile | number): void
  remove(device: VfioFile | number): void
}

function descriptorOf(device: VfioFile | number): number {
  const fd = typeof device === 'number' ? device : object(device, 'device').vfioFileFd
  return integer(fd, 'device', 0, 0x7fff_ffff)
}

/** That of a machine, which is made with its first file. @internal */
export function vfioFilesOf(vm: () => NativeHandle): VmVfio {
  const change = (device: VfioFile | number, call: (fd: number) => void): void => {
    const fd = descriptorOf(device)
    attempt({ subject: `descriptor ${String(fd)}` }, () => {
      call(fd)
    })
  }
  return {
    add: (device) => {
      change(device, (fd) => {
        addon().vmAddVfioFile(vm(), fd)
      })
    },
    remove: (device) => {
      change(device, (fd) => {
        addon().vmRemoveVfioFile(vm(), fd)
      })
    },
  }
}
