// What sysfs says of any device, whatever its bus: driver, bus, IOMMU group, VFIO's own entry. It must not
// know what a particular bus adds.

import { join } from 'node:path'
import { devRoot, type HostOptions, linkName, listNames, readText } from './sysfs.js'

/** VFIO's entry for a device that one of its drivers has. */
export interface VfioDev {
  /** Such as `vfio0`. */
  readonly name: string
  /**
   * The device's own node, such as `/dev/vfio/devices/vfio0`; null where the kernel was built without
   * `CONFIG_VFIO_DEVICE_CDEV` (the directory exists all the same, its `dev` file does not).
   */
  readonly cdev: string | null
}

/** Name of the bus of the device in directory `path`, such as `pci`, `mdev` or `platform`. */
export function readBus(path: string): string | null {
  return linkName(path, 'subsystem')
}

/** Name of the driver that has the device in directory `path`, null if none has. */
export function readDriver(path: string): string | null {
  return linkName(path, 'driver')
}

/** Number of the IOMMU group of the device in directory `path`, null if it is in none. */
export function readIommuGroupNumber(path: string): number | null {
  const name = linkName(path, 'iommu_group')
  return name === null ? null : Number(name)
}

/** VFIO's entry for the device in directory `path`, null if VFIO does not have it (or before Linux 6.1). */
export function readVfioDev(path: string, options: HostOptions): VfioDev | null {
  const name = listNames(path, 'vfio-dev')?.find((entry) => /^vfio\d+$/.test(entry))
  if (name === undefined) return null
  const hasCdev = readText(path, 'vfio-dev', name, 'dev') !== null
  return { name, cdev: hasCdev ? join(devRoot(options), 'vfio', 'devices', name) : null }
}
