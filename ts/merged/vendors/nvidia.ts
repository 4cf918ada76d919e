// NVIDIA: mediated devices with older kernels and GPUs, or vendor VFIO (vGPU 17 on, Linux 6.8 on).

import { procRoot, readText } from '../../host/sysfs.js'
import type { SharedFunction } from '../facts.js'
import type { Vendor } from './vendor.js'

/** Functions that a VFIO driver took: on it they are no vGPU, nor the GPU. */
const strays = (functions: readonly SharedFunction[]): string[] =>
  functions
    .filter(({ onVfio, creatableVgpuTypes }) => onVfio && creatableVgpuTypes === null)
    .map(({ address }) => address)

export const nvidia: Vendor = {
  ownFunctions: () => true,
  driverVersion(driver, options) {
    if (driver !== 'nvidia') return null
    const text = readText(procRoot(options), 'driver', 'nvidia', 'version') ?? ''
    return /Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)/.exec(text)?.[1] ?? null
  },
  blockers({ driver, framework, functions, making }) {
    if (driver === 'nouveau') return ['nouveau cannot share a GPU with guests; vGPU needs the driver nvidia']
    const lost = strays(functions)
    const away =
      lost.length === 0
        ? []
        : [
            `${lost.join(', ')}: a virtual function is a vGPU on NVIDIA's driver alone, and of no use to a guest on VFIO's own: vfio unbind gives it back`,
          ]
    if (driver !== 'nvidia' || framework !== 'none') return away
    if (functions.length > lost.length)
      return [
        ...away,
        'its virtual functions offer no vGPU types: this is not the vGPU host driver, or its services (nvidia-vgpud, nvidia-vgpu-mgr) do not run',
      ]
    if (functions.length > 0 || (making?.tool ?? null) !== null) return away
    return [
      'this driver offers neither mediated devices nor virtual functions: it is not the vGPU host driver',
    ]
  },
  notes({ driver, functions, making }) {
    if (driver !== 'nvidia' || functions.length > 0 || (making?.tool ?? null) === null) return []
    return ['whether it shares by mediated devices or by vendor VFIO shows only once virtual functions exist']
  },
}
