// What sysfs and procfs say of a device that can be shared, beyond what node-vfio/host reads: DRM nodes, mdev types,
// NVIDIA's files. It must not conclude anything from it.

import { basename, join } from 'node:path'
import { readDriver } from '../host/device.js'
import {
  type HostOptions,
  linkName,
  listNames,
  readUnsigned,
  readText,
  resolvePath,
  sysfsRoot,
} from '../host/sysfs.js'
import type { Attempts } from '../host/probe.js'

/** A type of mediated device that a parent offers. */
export interface MdevType {
  /** Name of its directory, such as `i915-GVTg_V5_4` or `nvidia-256`: what is written to create one. */
  readonly id: string
  /** The device that offers it. */
  readonly parent: string
  /** `name`; not every driver has the file. */
  readonly name: string | null
  readonly description: string | null
  /** How many more can be made now; null if it could not be read. */
  readonly available: number | null
  /** Such as `vfio-pci`. */
  readonly deviceApi: string | null
  /** UUIDs of those that exist. */
  readonly devices: readonly string[]
}

/** A type that a virtual function of NVIDIA's can become. */
export interface VgpuType {
  readonly id: number
  readonly name: string
}

/** A virtual function, as far as sharing goes. */
export interface SharedFunction {
  readonly address: string
  readonly driver: string | null
  /** Whether VFIO has it. */
  readonly onVfio: boolean
  /** `nvidia/current_vgpu_type`: 0 for none; null where there is no such file. */
  readonly currentVgpuType: number | null
  /** `nvidia/creatable_vgpu_types`, which shrinks as the siblings fill; null where there is no such file. */
  readonly creatableVgpuTypes: readonly VgpuType[] | null
}

/** The nodes by which the host itself uses a GPU or an accelerator. */
export interface HostNodes {
  /** Such as `card0`. */
  readonly cards: readonly string[]
  /** Such as `renderD128`. */
  readonly renders: readonly string[]
  /** Such as `accel0`. */
  readonly accels: readonly string[]
}

function sorted(names: readonly string[] | null, pattern: RegExp): string[] {
  return (names ?? []).filter((name) => pattern.test(name)).sort()
}

export function readHostNodes(path: string): HostNodes {
  const drm = listNames(path, 'drm')
  return {
    cards: sorted(drm, /^card\d+$/),
    renders: sorted(drm, /^renderD\d+$/),
    accels: sorted(listNames(path, 'accel'), /^accel\d+$/),
  }
}

/** The mdev types of the parent in directory `path`; null if it is no parent. */
export function readMdevTypes(path: string, attempts: Attempts): MdevType[] | null {
  const parent = basename(path)
  const root = join(path, 'mdev_supported_types')
  const ids = attempts.run(root, () => listNames(root), null)
  if (ids === null) return null
  return ids.sort().map((id) => {
    const about = join(root, id)
    const text = (name: string): string | null =>
      attempts.run(join(about, name), () => readText(about, name), null)
    const count = attempts.run(
      join(about, 'available_instances'),
      () => readUnsigned(0xffff_ffff, about, 'available_instances'),
      null,
    )
    return {
      id,
      parent,
      name: text('name'),
      description: text('description'),
      available: count,
      deviceApi: text('device_api'),
      devices: attempts.run(about, () => listNames(about, 'devices'), null)?.sort() ?? [],
    }
  })
}

/** Directories of the devices that offer mdev types, links followed. */
export function listMdevParents(attempts: Attempts, options: HostOptions): string[] {
  const bus = join(sysfsRoot(options), 'class', 'mdev_bus')
  const names = attempts.run(bus, () => listNames(bus), null) ?? []
  return names.sort().flatMap((name) => {
    const path = attempts.run(join(bus, name), () => resolvePath(bus, name), null)
    return path === null ? [] : [path]
  })
}

/** Lines `<id> : <name>` under a heading; others are left out. */
export function parseVgpuTypes(text: string): VgpuType[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*(\d{1,9})\s*:\s*(\S.*?)\s*$/.exec(line)
    return match === null ? [] : [{ id: Number(match[1]), name: match[2] ?? '' }]
  })
}

/** The virtual function in directory `path`. */
export function readSharedFunction(path: string, onVfio: boolean, attempts: Attempts): SharedFunction {
  const types = attempts.run(
    join(path, 'nvidia', 'creatable_vgpu_types'),
    () => readText(path, 'nvidia', 'creatable_vgpu_types'),
    null,
  )
  return {
    address: basename(path),
    driver: attempts.run(path, () => readDriver(path), null),
    onVfio,
    currentVgpuType: attempts.run(
      join(path, 'nvidia', 'current_vgpu_type'),
      () => readUnsigned(0xffff_ffff, path, 'nvidia', 'current_vgpu_type'),
      null,
    ),
    creatableVgpuTypes: types === null ? null : parseVgpuTypes(types),
  }
}

/** Name of the module of the driver of the device in directory `path`; null for one built in, or without. */
export function readDriverModule(path: string): string | null {
  const driver = resolvePath(path, 'driver')
  return driver === null ? null : linkName(driver, 'module')
}
