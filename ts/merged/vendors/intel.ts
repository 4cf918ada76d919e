// Intel: GVT-g in i915, SR-IOV in xe and in i915 of vendors' trees.

import type { Vendor } from './vendor.js'

const GPU_DRIVERS = ['i915', 'xe']

export const intel: Vendor = {
  blockers({ driver, framework }) {
    if (driver === 'i915' && framework === 'none')
      return ['neither GVT-g (i915.enable_gvt=1 and the module kvmgt) nor SR-IOV is there']
    if (driver === 'xe' && framework === 'none')
      return ['xe offers no virtual functions here (see xe.max_vfs)']
    return []
  },
  notes({ driver, framework, has }) {
    if (driver === null || !GPU_DRIVERS.includes(driver)) return []
    if (framework === 'mdev')
      return ['a GVT-g device opens only after VFIO has been given the KVM machine of the same process']
    if (framework !== 'sriov') return []
    if (driver === 'i915') return ['SR-IOV of i915 is in trees of vendors only; upstream it is in xe']
    return has('sriov_admin') ? ['profiles of the functions are in sriov_admin (vfN counts from 1)'] : []
  },
}
