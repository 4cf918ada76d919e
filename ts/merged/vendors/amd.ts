// AMD: amdgpu shares nothing with guests; GIM gives virtual functions in amdgpu's place.

import type { Vendor } from './vendor.js'

export const amd: Vendor = {
  replacesHostDriver: (driver) => driver === 'gim',
  blockers({ driver }) {
    if (driver === 'amdgpu')
      return ['amdgpu has no mediated devices and no VFIO device operations, and makes no virtual functions']
    if (driver === 'gim')
      return ['GIM takes the place of amdgpu on the physical function: the host itself cannot use the GPU']
    return []
  },
  notes({ driver, has }) {
    const partitions = ['current_compute_partition', 'current_memory_partition'].filter(has)
    if (driver !== 'amdgpu' || partitions.length === 0) return []
    return [`${partitions.join(' and ')}: these divide the GPU for the host, not into virtual functions`]
  },
  hooks({ driver }) {
    if (driver !== 'amdgpu') return null
    const why = 'amdgpu has no VFIO device operations, hence nowhere to put one'
    return [
      { hook: 'irqfd', answer: 'no', why },
      { hook: 'ioeventfd', answer: 'no', why },
    ]
  },
}
