// Which of the kernel's two ways to a device is taken, and its beginning. The ways themselves are in cdev.ts and group.ts.
import { channel } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import { debuglog } from 'node:util'

import type { VfioError, VfioErrorContext } from '../../errors.js'
import { AddressSpace } from '../../iommu/address-space.js'
import { openCdev } from './cdev.js'
import { type FoundDevice, ofHost } from './find.js'
import { groupNode, openGroup } from './group.js'
import type { Checked, OpenChoice } from './options.js'
import { groupContext, nodeContext } from './refusals.js'
import type { Route } from './route.js'

const openings = channel('node-vfio:open')
const debug = debuglog('vfio')

/** Falls back to the group only where the other way is absent: what may not be used, or is in use, is an error. */
function choose({ vfioDev }: FoundDevice, { iommu, devRoot }: Checked): Omit<OpenChoice, 'node'> {
  if (iommu instanceof AddressSpace) {
    return { through: iommu.takesNodes ? 'cdev' : 'group', why: 'address-space' }
  }
  if (iommu !== 'auto') return { through: iommu === 'iommufd' ? 'cdev' : 'group', why: 'asked' }
  if (!existsSync(`${devRoot}/iommu`)) return { through: 'group', why: 'no-iommufd' }
  if (vfioDev?.cdev === undefined || vfioDev.cdev === null) return { through: 'group', why: 'no-cdev' }
  return { through: 'cdev', why: 'preferred' }
}

/** The node that would be opened, and what an errno of opening it means. */
export function nodeToOpen(
  device: FoundDevice,
  options: Checked,
): { node: string; explain: (error: Pick<VfioError, 'code'>) => VfioErrorContext } {
  const { cdev } = device.vfioDev ?? { cdev: null }
  if (choose(device, options).through === 'cdev' && cdev !== null)
    return { node: cdev, explain: (error) => nodeContext(cdev, error) }
  const node = groupNode(device.iommuGroup, options)
  return { node, explain: (error) => groupContext(node, error) }
}

/** Starts to open the device, up to where the kernel enables it. */
export function startOpening(device: FoundDevice, options: Checked): Route {
  const route = ofHost(device.name, () => {
    const { through, why } = choose(device, options)
    return through === 'cdev' ? openCdev(device, options, why) : openGroup(device, options, why)
  })
  debug('%s: opening %s (%s)', device.name, route.choice.node, route.choice.why)
  if (openings.hasSubscribers) openings.publish({ device: device.name, ...route.choice })
  return route
}
