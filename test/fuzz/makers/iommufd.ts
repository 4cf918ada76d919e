// Makes what lives in an iommufd; page tables only where the device is bound to one.
import { existsSync } from 'node:fs'

import * as vfio from '../../../ts/index.js'
import { DEVICES, ON_HOST } from '../options.js'
import type { Population } from '../population.js'
import { deviceOf } from './devices.js'
import { makeMocked } from './mock.js'

const IOMMUFD = existsSync('/dev/iommu')

export async function makeIommufd(population: Population, missing: (kind: string) => boolean): Promise<void> {
  if (!IOMMUFD) return
  if (missing('Iommufd')) await population.admit(vfio.Iommufd.open(), null)
  if (missing('FaultQueue')) {
    const iommufd = vfio.Iommufd.open()
    await population.admit(vfio.FaultQueue.allocate(iommufd), null)
    iommufd.close()
  }
  if (!ON_HOST) await makeMocked(population, missing)
  if (ON_HOST || !missing('HwptDirtyTracking') || population.count('VfioDevice') === 0) return
  const bound = deviceOf(population, DEVICES[0])
  if (bound.iommufdId === null) return
  const hwpt = vfio.Hwpt.allocate(bound, bound.addressSpace)
  await population.admit(hwpt, null)
  await population.admit(hwpt.dirtyTracking, null)
}
