// What sysfs and procfs say of a device that can be shared, beyond what node-vfio/host reads: DRM nodes, mdev types,
// NVIDIA's files. It must not conclude anything from it.

import { basename, join } from 'node:path'
import { readDriver } from '../host/device.js'
import { mdevParentPaths, type MdevType, mdevTypesOf } from '../host/mdev.js'
import {
  type HostOptions,
  linkName,
  listNames,
  readUnsigned,
  readText,
  resolvePath,
  sysfsRoot,
} from '../host/sysfs.js'
import { parseVgpuTypes, type VgpuType } from '../host/vgpu.js'
import type { Attempts } from '../host/attempts.js'

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
  /** `nvidia/gpu_instance_id`: the GPU instance (MIG) that the vGPU is on; null where it is on none. */
  readonly gpuInstance: number | null
  /**
   * What xe's `sriov_admin` has of it, by the file's name: `exec_quantum_ms`, `preempt_timeout_us`, `sched_priority`, and
   * `vram_quota` where this kernel has that; null where there is no such folder.
   */
  readonly profile: Readonly<Record<string, string>> | null
}

/** The nodes by which the host itself uses a GPU or an accelerator. */
export interface HostNodes {
  /** Such as `card0`. */
  readonly cards: readonly string[]
  /** Where they can show pictures, such as `card0-HDMI-A-1`. */
  readonly connectors: readonly string[]
  /** Such as `renderD128`. */
  readonly renders: readonly string[]
  /** Such as `accel0`. */
  readonly accels: readonly string[]
}

function sorted(names: readonly string[] | null, pattern: RegExp): string[] {
  return (names ?? []).filter((name) => pattern.test(name)).sort()
}

export const NO_NODES: HostNodes = { cards: [], connectors: [], renders: [], accels: [] }

export function readHostNodes(path: string): HostNodes {
  const drm = listNames(path, 'drm')
  const cards = sorted(drm, /^card\d+$/)
  return {
    cards,
    connectors: cards.flatMap((card) => sorted(listNames(path, 'drm', card), /^card\d+-/)),
    renders: sorted(drm, /^renderD\d+$/),
    accels: sorted(listNames(path, 'accel'), /^accel\d+$/),
  }
}

/** Directories of the devices that have DRM nodes, links followed. */
export function listDrmDevices(attempts: Attempts, options: HostOptions): string[] {
  const root = join(sysfsRoot(options), 'class', 'drm')
  const cards = attempts.run(root, () => listNames(root), null) ?? []
  const devices = cards
    .filter((name) => /^(card|renderD)\d+$/.test(name))
    .map((name) => attempts.run(name, () => resolvePath(root, name, 'device'), null))
  return [...new Set(devices.filter((path) => path !== null))].sort()
}

/** The mdev types of the parent in directory `path`; null if it is no parent. */
export function readMdevTypes(path: string, attempts: Attempts): MdevType[] | null {
  return mdevTypesOf(path, attempts.run.bind(attempts))
}

/** Directories of the devices that offer mdev types, links followed. */
export function listMdevParents(attempts: Attempts, options: HostOptions): string[] {
  return mdevParentPaths(options, attempts.run.bind(attempts))
}

const NO_INSTANCE = 0xffff_ffff

/** The GPU instance, which drivers without MIG and vGPUs beside it do not have. */
function readGpuInstance(path: string): number | null {
  const text = readText(path, 'nvidia', 'gpu_instance_id')
  const id = text === null || !/^\d+$/.test(text) ? NO_INSTANCE : Number(text)
  return id >= NO_INSTANCE ? null : id
}

/** Of several words, the one in brackets counts: `[low] normal high`. */
const chosen = (text: string): string => /\[(\S+)\]/.exec(text)?.[1] ?? text

/** xe counts functions from 1. */
function readProfile(pf: string, number: number): Record<string, string> | null {
  const folder = join(pf, 'sriov_admin', `vf${number}`, 'profile')
  const names = listNames(folder)
  if (names === null) return null
  const texts = names.sort().map((name) => [name, readText(folder, name)] as const)
  return Object.fromEntries(texts.flatMap(([name, text]) => (text === null ? [] : [[name, chosen(text)]])))
}

/** Where a virtual function is. */
export interface FunctionPlace {
  readonly path: string
  /** Directory of its physical function. */
  readonly pf: string
  /** Among its siblings, from 1. */
  readonly number: number
}

export function readSharedFunction(
  { path, pf, number }: FunctionPlace,
  onVfio: boolean,
  attempts: Attempts,
): SharedFunction {
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
    gpuInstance: attempts.run(join(path, 'nvidia', 'gpu_instance_id'), () => readGpuInstance(path), null),
    profile: attempts.run(join(pf, 'sriov_admin'), () => readProfile(pf, number), null),
  }
}

/** Name of the module of the driver of the device in directory `path`; null for one built in, or without. */
export function readDriverModule(path: string): string | null {
  const driver = resolvePath(path, 'driver')
  return driver === null ? null : linkName(driver, 'module')
}
