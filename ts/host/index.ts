// The subpath node-vfio/host: what a host has, read from sysfs. It loads on every platform; nothing is
// defined here, and nothing in this folder may import the addon.

export type { ReadProblem } from './attempts.js'
export { compareBdf, formatBdf, isBdf, parseBdf, type PciAddress } from './bdf.js'
export { type VfioDev } from './device.js'
export {
  type GroupOffender,
  type GroupViability,
  groupViability,
  type IommuGroup,
  type IommuGroupMember,
  isVfioMember,
  listIommuGroups,
  readIommuGroup,
  type ReservedRegion,
} from './groups.js'
export { type HostUse, hostUses } from './host-uses.js'
export type { HostIo } from './io.js'
export type { Hypervisor, Machine } from './machine.js'
export { listMdevs, listMdevTypes, type Mdev, type MdevType } from './mdev.js'
export { type KernelModule, readModule } from './modules.js'
export { listPciDevices, type PciDevice, type PciResource, type PciSriov, readPciDevice } from './pci.js'
export {
  type DeviceNode,
  type HostReport,
  type Limit,
  probeHost,
  type ProbedGroup,
  type ProbedPciDevice,
} from './probe.js'
export { type ResolvedDevice, resolveDevice } from './resolve.js'
export { readSriov, type SriovState } from './sriov.js'
export { ANY, type FileNature, type HostStep, type HostWrite, type Look } from './step.js'
export type { HostOptions } from './sysfs.js'
export type { DeviceUsage, DeviceUse, DeviceUser, Unseen } from './usage/types.js'
export { deviceUsage } from './usage/usage.js'
export { deviceUsers, type DeviceUsers } from './users.js'
export type { VfMaking } from './vf-making.js'
export { chooseVfioDriver, type VfioDriverChoice } from './vfio-driver.js'
export { readVgpu, type VgpuFunction, type VgpuType } from './vgpu.js'
