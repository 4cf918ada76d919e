// A device's descriptor from elsewhere, as a native object that is enabled.
import { VfioError } from '../../errors.js'
import { resolveDevice } from '../../host/index.js'
import type { AddressSpace } from '../../iommu/address-space.js'
import type { NativeHandle } from '../../native/index.js'
import { DeviceNode, enabledDevice } from '../kernel/nodes.js'

/** Takes ownership of the descriptor. That of a device's own node is bound and attached, if it is not bound yet. */
export function adopt(fd: number, space: AddressSpace): NativeHandle {
  try {
    return enabledDevice(fd)
  } catch (error) {
    // A node that is not bound refuses every question so.
    if (!(error instanceof VfioError) || error.code !== 'EINVAL' || space.iommufd === null) throw error
  }
  const node = new DeviceNode(fd)
  try {
    node.bindSync(space.iommufd.native, null)
    node.attachSync(space.native)
    return node.native
  } catch (error) {
    node.release()
    throw error
  }
}

/** Where sysfs has a device that is called by its address; null for other names. */
export function pathOf(name: string): string | null {
  const bdf = /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i.test(name)
  return bdf ? (resolveDevice(name)?.sysfsPath ?? null) : null
}
