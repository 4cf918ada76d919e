// Where the kernel's address spaces come from: opened, adopted by descriptor, or found again by another Worker.
import { attempt } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import type { OpenedSpace } from '../backend.js'
import { Iommufd } from '../iommufd/iommufd.js'
import { prepareTracking } from '../iommufd/tracking-tables.js'
import { containerContext, iommufdContext } from '../node-errors.js'
import { IoasBackend } from './ioas.js'
import { NoIommuBackend } from './noiommu.js'
import { ContainerBackend, type ContainerIommu, type ContainerKind, EXTENSION } from './type1.js'

/** The node of a container, below the folder of device nodes, and what the errno of opening it means. */
const CONTAINERS = {
  vfio: { node: 'vfio/vfio', explain: containerContext },
  iommufd: { node: 'iommu', explain: iommufdContext },
} as const satisfies Record<ContainerKind, object>

/** By the IOMMU driver that the container has, or else by the one that is wanted. */
export function containerBackend(
  own: () => NativeHandle,
  wanted: 'auto' | ContainerIommu = 'auto',
): ContainerBackend {
  const backend = new ContainerBackend(own, wanted)
  return (backend.type ?? wanted) === 'noiommu' ? new NoIommuBackend(own) : backend
}

/** A space over a container that is there already. */
export function containerSpace(native: NativeHandle, wanted?: 'auto' | ContainerIommu): OpenedSpace {
  return { native, backend: (own) => containerBackend(own, wanted) }
}

/** A space over an IOAS that is there already. */
export function ioasSpace(native: NativeHandle): OpenedSpace {
  return { native, backend: (own) => new IoasBackend(own) }
}

/** A space of its own in a new container. */
export function openContainer(
  kind: ContainerKind,
  wanted: 'auto' | ContainerIommu,
  devRoot: string,
): OpenedSpace {
  const { node, explain } = CONTAINERS[kind]
  const path = `${devRoot}/${node}`
  return containerSpace(
    attempt(
      (error) => explain(path, error),
      () => addon().containerOpen(path),
    ),
    wanted,
  )
}

/** Takes over a container, on which `iommu` was set where it comes from. */
export function adoptContainer(fd: number, iommu: ContainerIommu | undefined): OpenedSpace {
  return containerSpace(addon().containerFromFd(fd, iommu === undefined ? 0 : EXTENSION[iommu]), iommu)
}

/** An IOAS: a new one, or one that is in the iommufd already, by its number. The iommufd given, or the one of the process. */
export function openIoas(
  given: Iommufd | undefined,
  options: { ioasId: number | undefined; devRoot: string; dirtyTracking: boolean },
): OpenedSpace {
  const { ioasId, devRoot, dirtyTracking } = options
  const iommufd = given ?? Iommufd.open({ devRoot, shared: true })
  try {
    const native = iommufd.native
    const ioas = ioasId === undefined ? addon().ioasAlloc(native) : addon().ioasFromId(native, ioasId)
    if (dirtyTracking) prepareTracking(ioas)
    return ioasSpace(ioas)
  } finally {
    if (given === undefined) iommufd.close()
  }
}
