// Every way in which the machine at hand puts devices behind an IOMMU, for tests that must pass in all of them.
import { writeFileSync } from 'node:fs'

import { AddressSpace, type AddressSpaceOptions, VfioDevice } from '../../../ts/index.js'
import { devices, rig } from '../devices.js'

const CONTAINERS: Record<string, AddressSpaceOptions> = {
  type1: { iommu: 'type1' },
  type1v2: { iommu: 'type1v2' },
}
const IOMMUFD: Record<string, AddressSpaceOptions> = {
  'iommufd compat type1': { container: 'iommufd', iommu: 'type1' },
  'iommufd compat type1v2': { container: 'iommufd', iommu: 'type1v2' },
  iommufd: { iommu: 'iommufd' },
}
/** The modes of the machine at hand, by name. */
export const MODES: Record<string, AddressSpaceOptions> =
  rig.iommu === 'none' ? {} : rig.built ? { ...CONTAINERS, ...IOMMUFD } : CONTAINERS

const UNSAFE = [
  '/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts',
  '/sys/module/iommufd/parameters/allow_unsafe_interrupts',
]

export function allowUnsafeInterrupts(allow: boolean): void {
  for (const path of UNSAFE) {
    try {
      writeFileSync(path, allow ? 'Y' : 'N')
    } catch {
      // Not every kernel has iommufd.
    }
  }
}

/** Opens a device in a space of a mode; virtio-iommu does not isolate interrupts, which is accepted for the time. */
export async function inMode(
  options: AddressSpaceOptions,
  use: (device: VfioDevice, space: AddressSpace) => Promise<void>,
  id = devices.edu,
): Promise<void> {
  if (rig.iommu === 'virtio') allowUnsafeInterrupts(true)
  const space = AddressSpace.open(options)
  try {
    const device = await VfioDevice.open(id, { iommu: space })
    try {
      await use(device, space)
    } finally {
      await device.close()
    }
  } finally {
    await space.close()
    if (rig.iommu === 'virtio') allowUnsafeInterrupts(false)
  }
}
