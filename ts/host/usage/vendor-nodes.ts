// Nodes that belong to a device and are not in its folder: VFIO's, NVIDIA's, and AMD's kfd, the last two shared by all devices
// of their driver. It must not know who has them open.

import { basename, join } from 'node:path'
import {
  type HostOptions,
  linkName,
  listNames,
  procRoot,
  readText,
  resolvePath,
  sysfsRoot,
} from '../sysfs.js'
import { type Group, nodeAt, type Subject } from './below.js'
import type { Wanted } from './descriptors.js'

/** A node to look for, and what having it open says. */
export interface WantedNode extends Wanted {
  readonly device: string
  /** Its class, such as `sound`; null for those of this file. */
  readonly subsystem: string | null
  /**
   * `own`: whoever has it open uses the device. `shared`: so do those who have it open, unless they have only nodes of `other`
   * devices of the driver beside it.
   */
  readonly says: 'own' | 'shared' | 'other'
}

const NVIDIA_MAJOR = 195
/** As NVIDIA's driver numbers them: the devices from 0 on, and these from 255 down. */
const NVIDIA_SHARED = { nvidiactl: 255, 'nvidia-modeset': 254 } as const

/** What a descriptor of the device in directory `path` is told by. */
export const ownDevice = (path: string): WantedNode => ({
  key: null,
  name: 'vfio-device',
  device: basename(path),
  subsystem: null,
  says: 'own',
})

/** VFIO names a device by its path below sysfs's mount point. */
export const belowSysfs = (path: string): string => path.slice(path.indexOf('/devices/'))

/** The nodes of VFIO's groups. A device's own node is in its folder. */
export function groupNodes(groups: readonly Group[], options: HostOptions): WantedNode[] {
  return groups.flatMap(({ number: group, owner }) =>
    [String(group), `noiommu-${group}`].map((entry): WantedNode => {
      const number = readText(sysfsRoot(options), 'class', 'vfio', entry, 'dev')
      return {
        key: number === null ? null : `c${number}`,
        name: `vfio/${entry}`,
        device: owner,
        subsystem: null,
        says: 'own',
      }
    }),
  )
}

/** The major number that a driver has for its character devices. */
function majorOf(driver: RegExp, options: HostOptions): number | null {
  const text = (readText(procRoot(options), 'devices') ?? '').split(/^Block devices:/m)[0] ?? ''
  for (const line of text.split('\n')) {
    const [major, name] = line.trim().split(/\s+/)
    if (name !== undefined && driver.test(name)) return Number(major)
  }
  return null
}

function nvidiaNodes({ name, driver, path }: Subject, options: HostOptions): WantedNode[] {
  // Virtual functions have no nodes of NVIDIA's: guests have them through VFIO.
  if (driver !== 'nvidia' || linkName(path, 'physfn') !== null) return []
  const major = majorOf(/^nvidia(?:-frontend)?$/, options) ?? NVIDIA_MAJOR
  const gpus = join(procRoot(options), 'driver', 'nvidia', 'gpus')
  const node = (file: string, minor: number, says: WantedNode['says'], of = major): WantedNode => ({
    key: `c${of}:${minor}`,
    name: file,
    device: name,
    subsystem: null,
    says,
  })
  const devices = (listNames(gpus) ?? []).flatMap((address) => {
    const about = readText(gpus, address, 'information') ?? ''
    const minor = /^Device Minor:\s*(\d+)/m.exec(about)?.[1]
    if (minor === undefined) return []
    return [node(`nvidia${minor}`, Number(minor), address.toLowerCase() === name ? 'own' : 'other')]
  })
  const uvm = majorOf(/^nvidia-uvm$/, options)
  return [
    ...devices,
    ...Object.entries(NVIDIA_SHARED).map(([file, minor]) => node(file, minor, 'shared')),
    ...(uvm === null
      ? []
      : [node('nvidia-uvm', 0, 'shared', uvm), node('nvidia-uvm-tools', 1, 'shared', uvm)]),
  ]
}

/** One node for the compute of all of AMD's GPUs; which of them a process uses, the render nodes say. */
function kfdNodes({ name, driver, path }: Subject, options: HostOptions): WantedNode[] {
  if (driver !== 'amdgpu') return []
  const kfd = resolvePath(sysfsRoot(options), 'class', 'kfd', 'kfd')
  if (kfd === null) return []
  const siblings = join(sysfsRoot(options), 'bus', 'pci', 'drivers', 'amdgpu')
  const others = (listNames(siblings) ?? []).flatMap((entry) => {
    const other = entry.includes(':') ? resolvePath(siblings, entry) : null
    if (other === null || other === path) return []
    return (listNames(other, 'drm') ?? []).map((node) => nodeAt(join(other, 'drm', node), entry, options))
  })
  const wanted = (node: Wanted, says: WantedNode['says']): WantedNode => ({
    key: node.key,
    name: node.name,
    device: name,
    subsystem: null,
    says,
  })
  return [
    wanted(nodeAt(kfd, name, options), 'shared'),
    ...others.filter(({ key }) => key !== null).map((node) => wanted(node, 'other')),
  ]
}

/** Every node that is a way to a device. */
export function nodesOf(subject: Subject, options: HostOptions): WantedNode[] {
  return [
    ...groupNodes(subject.groups, options),
    ...subject.nodes.map(({ key, name, subsystem, owner }): WantedNode => ({
      key,
      name,
      device: owner,
      subsystem,
      says: 'own',
    })),
    ...nvidiaNodes(subject, options),
    ...kfdNodes(subject, options),
  ]
}
