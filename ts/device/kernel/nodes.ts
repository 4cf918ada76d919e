// The nodes by which the kernel gives devices: a group's, and a device's own. One call each; in which order, and what a refusal
// means, is decided by who opens.
import { attachTo, attachToSync } from '../../iommu/iommufd/attach.js'
import { type NativeHandle, addon } from '../../native/index.js'

const STATUS_VIABLE = 1 // VFIO_GROUP_FLAGS_VIABLE

/** /dev/vfio/N, open. */
export class GroupNode {
  readonly native: NativeHandle

  constructor(path: string) {
    this.native = addon().groupOpen(path)
  }

  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** VFIO_GROUP_GET_STATUS. */
  get isViable(): boolean {
    return (addon().groupGetStatus(this.native) & STATUS_VIABLE) !== 0
  }

  /** The container that this process has put it in, which is the caller's to release. */
  container(): NativeHandle | null {
    return addon().groupContainer(this.native)
  }

  /** VFIO_GROUP_GET_DEVICE_FD, which enables and resets the device. The device then holds the group. */
  getDevice(name: string): Promise<NativeHandle> {
    return addon().groupGetDeviceFd(this.native, name)
  }

  getDeviceSync(name: string): NativeHandle {
    return addon().groupGetDeviceFdSync(this.native, name)
  }

  release(): void {
    addon().handleRelease(this.native, false)
  }
}

/** /dev/vfio/devices/vfioN, open. Nothing can be asked of the device before it is bound. */
export class DeviceNode {
  readonly native: NativeHandle

  /** @param from the path, or a descriptor that becomes this one's */
  constructor(from: string | number) {
    this.native = typeof from === 'string' ? addon().cdevOpen(from) : addon().cdevFromFd(from)
  }

  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** VFIO_DEVICE_BIND_IOMMUFD, which enables and resets the device. @param token the 16 bytes of a VF token */
  bind(iommufd: NativeHandle, token: Uint8Array | null): Promise<void> {
    return addon().deviceBind(this.native, iommufd, token)
  }

  bindSync(iommufd: NativeHandle, token: Uint8Array | null): void {
    addon().deviceBindSync(this.native, iommufd, token)
  }

  /** Notes the IOMMU group of a bound device, for `ioasOfGroup`. */
  noteGroup(group: number): void {
    addon().deviceInGroup(this.native, group)
  }

  /** VFIO_DEVICE_ATTACH_IOMMUFD_PT. */
  attach(ioas: NativeHandle): Promise<void> {
    return attachTo(ioas, this.native, null)
  }

  attachSync(ioas: NativeHandle): void {
    attachToSync(ioas, this.native, null)
  }

  release(): void {
    addon().handleRelease(this.native, false)
  }
}

/** The space that this process has attached a device of a group to, which is the caller's to release. */
export function ioasOfGroup(group: number): NativeHandle | null {
  return addon().ioasOfGroup(group)
}

/** A descriptor of a device that is enabled. @throws VfioError EINVAL for a node that is not bound */
export function enabledDevice(fd: number): NativeHandle {
  return addon().deviceFromFd(fd, null)
}
