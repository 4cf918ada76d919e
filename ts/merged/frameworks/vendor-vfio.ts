// Virtual functions that stay with NVIDIA's driver, which is their VFIO driver: each can become a vGPU (vGPU 17, Linux 6.8).

import { type FrameworkRules, openableOf, stateOf, unknownHooks } from './framework.js'

export const vendorVfio: FrameworkRules = {
  name: 'vendor-vfio',
  words: "virtual functions of the vendor's own driver",
  why: ({ functions }) =>
    functions.some(({ creatableVgpuTypes }) => creatableVgpuTypes !== null)
      ? 'its virtual functions have nvidia/creatable_vgpu_types'
      : null,
  offers: () => true,
  state: (driver, { functions }) =>
    stateOf(
      driver,
      functions.filter(({ currentVgpuType }) => (currentVgpuType ?? 0) !== 0).length,
      functions.some(({ creatableVgpuTypes }) => (creatableVgpuTypes?.length ?? 0) > 0),
    ),
  hooks: unknownHooks,
  openable: openableOf,
}
