// NVIDIA: mediated devices with older kernels and GPUs, or vendor VFIO (vGPU 17 on, Linux 6.8 on).

import { procRoot, readText } from '../../host/sysfs.js'
import type { Vendor } from './vendor.js'

export const nvidia: Vendor = {
  driverVersion(driver, options) {
    if (driver !== 'nvidia') return null
    const text = readText(procRoot(options), 'driver', 'nvidia', 'version') ?? ''
    return /Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)/.exec(text)?.[1] ?? null
  },
  blockers({ driver, framework }) {
    if (driver === 'nouveau') return ['nouveau shares nothing with guests; vGPU needs the driver nvidia']
    if (driver === 'nvidia' && framework === 'none')
      return [
        'this driver offers neither mediated devices nor virtual functions: it is not the vGPU host driver',
      ]
    return []
  },
  notes({ driver, framework, totalVfs, activeVfs }) {
    if (driver !== 'nvidia' || framework !== 'sriov' || totalVfs === 0 || activeVfs > 0) return []
    return ['whether it shares by mediated devices or by vendor VFIO shows only once virtual functions exist']
  },
}
