// Asks what the IOMMU behind a device can do.
import { addon } from '../../native/index.js'
import { type HwInfo, decodeHwInfo } from '../../uapi/iommufd/hw-info.js'
import { integer } from '../../validate.js'
import { type IommufdDevice, deviceIdOf } from './hwpt.js'

export type { HwInfo } from '../../uapi/iommufd/hw-info.js'

/** IOMMU_GET_HW_INFO (Linux 6.6). */
export function hwInfo(device: IommufdDevice, type?: number): HwInfo {
  const id = deviceIdOf(device)
  const { iommufd } = device.addressSpace
  if (iommufd === null) throw new TypeError('device must be in an address space of iommufd')
  if (type !== undefined) integer(type, 'type', 0, 0xffff_ffff)
  return decodeHwInfo(addon().iommufdHwInfo(iommufd.native, id, type ?? null))
}
