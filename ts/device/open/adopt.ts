// A device's descriptor from elsewhere, as a native object that is enabled.
import { VfioError } from '../../errors.js'
import { resolveDevice } from '../../host/index.js'
import type { AddressSpace } from '../../iommu/address-space.js'
import { attachToSync } from '../../iommu/iommufd/attach.js'
import { type NativeHandle, addon } from '../../native/index.js'

/** Takes ownership of the descriptor. That of a device's own node is bound and attached, if it is not bound yet. */
export function adopt(fd: number, space: AddressSpace): NativeHandle {
  try {
    return addon().deviceFromFd(fd, null)
  } catch (error) {
    // A node that is not bound refuses every question so.
    if (!(error instanceof VfioError) || error.code !== 'EINVAL' || space.iommufd === null) throw error
  }
  const native = addon().cdevFromFd(fd)
  try {
    addon().deviceBindSync(native, space.iommufd.native, null)
    attachToSync(space.native, native, null)
    return native
  } catch (error) {
    addon().handleRelease(native, false)
    throw error
  }
}

/** Where sysfs has a device that is called by its address; null for other names. */
export function pathOf(name: string): string | null {
  const bdf = /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i.test(name)
  return bdf ? (resolveDevice(name)?.sysfsPath ?? null) : null
}
