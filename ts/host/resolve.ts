// Finds the device that a user means: a PCI address, an mdev's UUID or a path. It must not open it, nor say
// whether it can be opened.

import { basename, isAbsolute, join, relative, sep } from 'node:path'
import { formatBdf, isBdf, parseBdf } from './bdf.js'
import { readBus, readDriver, readIommuGroupNumber, readVfioDev, type VfioDev } from './device.js'
import { checkHostOptions, type HostOptions, resolvePath, sysfsRoot } from './sysfs.js'

/** A device that was found. */
export interface ResolvedDevice {
  /** What `VFIO_GROUP_GET_DEVICE_FD` takes: its name on its bus. */
  readonly name: string
  /** Its directory, links followed. */
  readonly sysfsPath: string
  readonly kind: 'pci' | 'mdev' | 'platform' | 'other'
  /** Its bus as sysfs names it; the same as `kind` but for `other`. */
  readonly bus: string
  /** Name of its driver; null if it has none. */
  readonly driver: string | null
  readonly iommuGroup: number | null
  /** VFIO's entry for it, null if VFIO does not have it (or before Linux 6.1). */
  readonly vfioDev: VfioDev | null
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

function kindOf(bus: string): ResolvedDevice['kind'] {
  return bus === 'pci' || bus === 'mdev' || bus === 'platform' ? bus : 'other'
}

/** Whether `path` is inside the real directory `root`. */
function isInside(root: string, path: string): boolean {
  const way = relative(root, path)
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}

/**
 * The directory of the bus device that `path` is or stands for: class entries (`class/vfio-dev/vfio0`,
 * `class/drm/card0`) have no driver of their own and name theirs with a `device` link.
 */
function findDevice(path: string, root: string): string | null {
  const directory = resolvePath(path)
  const subsystem = directory === null ? null : resolvePath(directory, 'subsystem')
  if (directory === null || subsystem === null) return null
  if (!isInside(join(root, 'class'), subsystem)) return directory
  const owner = resolvePath(directory, 'device')
  // A class device can sit on another one. The link always leads to a directory above: each step nears the
  // bus.
  return owner === null || !isInside(owner, directory) ? null : findDevice(owner, root)
}

function describe(sysfsPath: string, options: HostOptions): ResolvedDevice | null {
  const bus = readBus(sysfsPath)
  if (bus === null) return null
  return {
    name: basename(sysfsPath),
    sysfsPath,
    kind: kindOf(bus),
    bus,
    driver: readDriver(sysfsPath),
    iommuGroup: readIommuGroupNumber(sysfsPath),
    vfioDev: readVfioDev(sysfsPath, options),
  }
}

function pathOf(id: string, sysfs: string): string {
  if (isBdf(id)) return join(sysfs, 'bus', 'pci', 'devices', formatBdf(parseBdf(id)))
  // The kernel prints UUIDs in lower case, however they were written.
  if (UUID.test(id)) return join(sysfs, 'bus', 'mdev', 'devices', id.toLowerCase())
  if (isAbsolute(id) && isInside(sysfs, id)) return id
  throw new TypeError(
    `${JSON.stringify(id)} is not a device: use a PCI address such as 0000:00:10.0, ` +
      `the UUID of an mdev or a path under ${sysfs}`,
  )
}

/**
 * Finds a device.
 * @param id a PCI address with or without its domain, an mdev's UUID, or a path under sysfs that is or leads
 * to the directory of a device
 * @returns null if there is no such device
 * @throws TypeError if `id` is none of the three
 * @throws RangeError if it is a PCI address with a device or function number that cannot be
 */
export function resolveDevice(id: string, options: HostOptions = {}): ResolvedDevice | null {
  checkHostOptions(options)
  const sysfs = sysfsRoot(options)
  const path = pathOf(id, sysfs)
  const root = resolvePath(sysfs)
  if (root === null) return null
  const directory = findDevice(path, root)
  if (directory === null || !isInside(root, directory)) return null
  return describe(directory, options)
}
