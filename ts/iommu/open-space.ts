// Opening an address space: what may be asked for, what goes together, and what stands behind it then.
import { existsSync } from 'node:fs'

import { boolean, instance, integer, oneOf, options as optionsOf, string } from '../validate.js'
import type { IommuType, OpenedSpace } from './backend.js'
import { Iommufd } from './iommufd/iommufd.js'
import { adoptContainer, openContainer, openIoas } from './kernel/open.js'
import { CONTAINER_IOMMUS, type ContainerIommu, type ContainerKind } from './kernel/type1.js'

export interface AddressSpaceOptions {
  /**
   * The IOMMU interface: `iommufd` (Linux 6.2; devices then come by their own nodes, Linux 6.6), or a container with
   * `type1v2` or `type1`. Default `auto`: iommufd where the kernel has it and nodes of devices, else a container, with type1v2
   * where there is it.
   */
  iommu?: 'auto' | IommuType
  /**
   * Asks for a container, and says what stands behind it: VFIO's own, or iommufd's compatibility mode (Linux 6.2), which
   * speaks the same protocol on `/dev/iommu`. There type1 cuts mappings in two, and neither type has dirty tracking.
   */
  container?: ContainerKind
  /** The iommufd that the space is to be in (default: the one of the process). */
  iommufd?: Iommufd
  /** An IOAS that is in `iommufd` already, by its id; the space takes it over. */
  ioasId?: number
  /**
   * Devices come on page tables of iommufd that track dirty pages (Linux 6.7), for `dirtyTracking`; one whose IOMMU cannot is
   * refused (EOPNOTSUPP). type1v2 tracks without being asked, and counts every page that it pinned (default false).
   */
  dirtyTracking?: boolean
  /** Where device nodes are (default `/dev`). */
  devRoot?: string
}

const IOMMU_TYPES: readonly IommuType[] = ['iommufd', ...CONTAINER_IOMMUS]

/** Opens an empty one. */
export function openSpace(options: AddressSpaceOptions | undefined): OpenedSpace {
  const given = optionsOf(options, 'options')
  const { iommu = 'auto', container, iommufd, ioasId, dirtyTracking = false, devRoot = '/dev' } = given
  oneOf(iommu, 'iommu', ['auto', ...IOMMU_TYPES])
  string(devRoot, 'devRoot')
  boolean(dirtyTracking, 'dirtyTracking')
  if (container !== undefined) oneOf(container, 'container', ['vfio', 'iommufd'])
  if (iommufd !== undefined) instance(iommufd, Iommufd, 'iommufd')
  if (container !== undefined && (iommu === 'iommufd' || iommufd !== undefined))
    throw new TypeError('container and iommufd exclude each other: a space is in one of the two')
  if (ioasId !== undefined) {
    integer(ioasId, 'ioasId', 0, 0xffff_ffff)
    if (iommufd === undefined)
      throw new TypeError('ioasId needs iommufd: an id is valid only in its own iommufd')
  }
  const inContainer = container !== undefined || (iommu !== 'auto' && iommu !== 'iommufd')
  if (iommufd !== undefined && inContainer)
    throw new TypeError(`iommu must be iommufd where an Iommufd is given, not ${iommu}`)
  if (dirtyTracking && (container === 'iommufd' || iommu === 'type1' || iommu === 'noiommu'))
    throw new TypeError('dirtyTracking needs iommu iommufd or type1v2: nothing else tracks dirty pages')
  const newest = iommu === 'iommufd' || iommufd !== undefined
  if (newest || (!inContainer && hasDeviceNodes(devRoot)))
    return openIoas(iommufd, { ioasId, devRoot, dirtyTracking })
  return openContainer(container ?? 'vfio', iommu, devRoot)
}

/** Takes over a container; `type` says what IOMMU driver was set on it. */
export function adoptSpace(fd: number, options: { type?: ContainerIommu } | undefined): OpenedSpace {
  integer(fd, 'fd', 0, 0x7fff_ffff)
  const { type } = optionsOf(options, 'options')
  if (type !== undefined) oneOf(type, 'type', CONTAINER_IOMMUS)
  return adoptContainer(fd, type)
}

/** Whether devices can be opened by their own nodes: iommufd is there, and so is a node. */
function hasDeviceNodes(devRoot: string): boolean {
  return existsSync(`${devRoot}/iommu`) && existsSync(`${devRoot}/vfio/devices`)
}
