// What the errno of opening a node that address spaces begin with means: a container's, or /dev/iommu.
import type { VfioError, VfioErrorContext } from '../errors.js'
import { readMachine } from '../host/machine.js'
import { noContainerNodeRemedy, noIommufdNode } from '../host/remedies.js'

/** Of `/dev/vfio/vfio`. */
export function containerContext(path: string, error: VfioError): VfioErrorContext {
  if (!isAbsent(error)) return permissionContext(path, error)
  return { subject: path, reason: 'no-vfio-module', remedy: noContainerNodeRemedy(readMachine()) }
}

/** Of `/dev/iommu`. */
export function iommufdContext(path: string, error: VfioError): VfioErrorContext {
  if (!isAbsent(error)) return permissionContext(path, error)
  return {
    subject: path,
    reason: 'no-iommufd',
    remedy: `${noIommufdNode(readMachine())} A VFIO container works without it.`,
  }
}

function isAbsent({ code }: VfioError): boolean {
  return code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO'
}

function permissionContext(path: string, { code }: VfioError): VfioErrorContext {
  if (code !== 'EACCES' && code !== 'EPERM') return { subject: path }
  return {
    subject: path,
    reason: 'permission',
    remedy: `Run as root, or give yourself access to ${path}.`,
  }
}
