// Mediated devices: the types that parents offer, those that exist, and the steps that make one and take it away. It must not
// do the steps, nor decide whether they may be done.

import { basename, dirname, join } from 'node:path'
import { readDriver, readIommuGroupNumber, readVfioDev, type VfioDev } from './device.js'
import type { HostStep } from './step.js'
import {
  checkHostOptions,
  type HostOptions,
  linkName,
  listNames,
  readText,
  readUnsigned,
  resolvePath,
  sysfsRoot,
} from './sysfs.js'

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

/** A mediated device that exists. */
export interface Mdev {
  /** In lower case. */
  readonly uuid: string
  /** The device that it is a part of. */
  readonly parent: string
  /** Id of its type; null if the kernel does not say. */
  readonly type: string | null
  /** Its directory, links followed. */
  readonly sysfsPath: string
  readonly driver: string | null
  readonly iommuGroup: number | null
  /** VFIO's entry for it. */
  readonly vfioDev: VfioDev | null
}

/** Reads one thing; what goes wrong is thrown, or kept by whoever runs many. */
export type Attempt = <T>(subject: string, read: () => T, otherwise: T) => T

const throwing: Attempt = (_subject, read) => read()

/** Directories of the devices that offer mdev types, links followed. */
export function mdevParentPaths(options: HostOptions, attempt: Attempt = throwing): string[] {
  const bus = join(sysfsRoot(options), 'class', 'mdev_bus')
  const names = attempt(bus, () => listNames(bus), null) ?? []
  return names.sort().flatMap((name) => {
    const path = attempt(join(bus, name), () => resolvePath(bus, name), null)
    return path === null ? [] : [path]
  })
}

/** The types of the parent in directory `path`; null if it is no parent. */
export function mdevTypesOf(path: string, attempt: Attempt = throwing): MdevType[] | null {
  const parent = basename(path)
  const root = join(path, 'mdev_supported_types')
  const ids = attempt(root, () => listNames(root), null)
  if (ids === null) return null
  return ids.sort().map((id) => {
    const about = join(root, id)
    const text = (name: string): string | null =>
      attempt(join(about, name), () => readText(about, name), null)
    return {
      id,
      parent,
      name: text('name'),
      description: text('description'),
      available: attempt(
        join(about, 'available_instances'),
        () => readUnsigned(0xffff_ffff, about, 'available_instances'),
        null,
      ),
      deviceApi: text('device_api'),
      devices: attempt(about, () => listNames(about, 'devices'), null)?.sort() ?? [],
    }
  })
}

/** Every type of every parent. Empty where there is no parent. */
export function listMdevTypes(options: HostOptions = {}): MdevType[] {
  checkHostOptions(options)
  return mdevParentPaths(options).flatMap((path) => mdevTypesOf(path) ?? [])
}

function readMdev(uuid: string, options: HostOptions): Mdev | null {
  const sysfsPath = resolvePath(sysfsRoot(options), 'bus', 'mdev', 'devices', uuid)
  if (sysfsPath === null) return null
  return {
    uuid,
    parent: basename(dirname(sysfsPath)),
    type: linkName(sysfsPath, 'mdev_type'),
    sysfsPath,
    driver: readDriver(sysfsPath),
    iommuGroup: readIommuGroupNumber(sysfsPath),
    vfioDev: readVfioDev(sysfsPath, options),
  }
}

/** Every mediated device, by UUID. */
export function listMdevs(options: HostOptions = {}): Mdev[] {
  checkHostOptions(options)
  return (listNames(sysfsRoot(options), 'bus', 'mdev', 'devices') ?? [])
    .sort()
    .map((uuid) => readMdev(uuid, options))
    .filter((mdev) => mdev !== null)
}

const presence = (uuid: string, options: HostOptions) =>
  ({ how: 'presence', path: join(sysfsRoot(options), 'bus', 'mdev', 'devices', uuid) }) as const

const createFile = (parentPath: string, type: string): string =>
  join(parentPath, 'mdev_supported_types', type, 'create')

const removeFile = (uuid: string, options: HostOptions): string =>
  join(sysfsRoot(options), 'bus', 'mdev', 'devices', uuid, 'remove')

/** Makes a mediated device of the parent in directory `parentPath`. */
export function createMdevStep(
  parentPath: string,
  type: string,
  uuid: string,
  options: HostOptions,
): HostStep {
  return {
    write: { file: createFile(parentPath, type), text: uuid },
    look: presence(uuid, options),
    old: null,
    new: 'present',
    why: `${basename(parentPath)} makes a ${type}`,
    undo: { file: removeFile(uuid, options), text: '1' },
  }
}

/** Takes one away. What it held, a guest's memory of it included, is lost. */
export function removeMdevStep(mdev: Mdev & { type: string }, options: HostOptions): HostStep {
  const { uuid, type, sysfsPath, parent } = mdev
  return {
    write: { file: removeFile(uuid, options), text: '1' },
    look: presence(uuid, options),
    old: 'present',
    new: null,
    why: `${parent} takes its ${type} back`,
    undo: { file: createFile(dirname(sysfsPath), type), text: uuid },
  }
}
