// What belongs to a device: its folder in sysfs and all below it, searched for nodes, disks, network interfaces, IOMMU groups and
// mediated devices, and its virtual functions. It must not know who uses any of that.

import { type Dirent, existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type HostOptions, linkName, listNames, readText, resolvePath, sysfsRoot } from '../sysfs.js'

/** A device number, and the name of its node below `/dev`. */
export interface Node {
  /** `b259:0` or `c226:128`; null where sysfs does not have it. */
  readonly key: string | null
  /** Such as `dri/card0`. */
  readonly name: string
  /** Its class, such as `drm`, `sound` or `block`. */
  readonly subsystem: string | null
  /** Its directory. */
  readonly path: string
  /** The device that it belongs to: the one searched, or one below it with an IOMMU group of its own. */
  readonly owner: string
}

export interface Interface {
  readonly name: string
  readonly path: string
}

/** An IOMMU group, and the device that is in it. */
export interface Group {
  readonly number: number
  readonly owner: string
}

/** A device and what belongs to it. */
export interface Subject {
  /** Its name on its bus. */
  readonly name: string
  /** Its directory, links followed. */
  readonly path: string
  readonly driver: string | null
  readonly nodes: readonly Node[]
  readonly interfaces: readonly Interface[]
  /** It has interfaces, and none of them is in the network namespace of this sysfs. */
  readonly interfacesElsewhere: boolean
  /** Of the device, and of what is below it. */
  readonly groups: readonly Group[]
  /** UUIDs of the mediated devices right below it. */
  readonly mdevs: readonly string[]
  /** Names of its virtual functions. */
  readonly functions: readonly string[]
  /** How many it has, as it says itself. */
  readonly numVfs: number
  /** False for one that was found through another. */
  readonly isAsked: boolean
}

/** Folders of attributes, below which no device is. Sensors (hwmon) are read by whoever likes, and lost by nobody. */
const WITHOUT_DEVICES: ReadonlySet<string> = new Set([
  'cache',
  'holders',
  'hwmon',
  'integrity',
  'mdev_supported_types',
  'mq',
  'msi_irqs',
  'power',
  'queue',
  'queues',
  'slaves',
  'statistics',
  'trace',
])

const MDEV = /^[0-9a-f]{8}-[0-9a-f-]{27}$/
const VIRTFN = /^virtfn(\d+)$/

/** Entries of a folder; none where there is none, or where it went away. */
function entries(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true })
  } catch {
    return []
  }
}

/** The node of the device in directory `path`. */
export function nodeAt(path: string, owner: string, options: HostOptions): Node {
  const name = basename(path)
  const own = linkName(path, 'subsystem')
  const subsystem = own ?? (existsSync(join(sysfsRoot(options), 'class', 'block', name)) ? 'block' : null)
  const number = readText(path, 'dev')
  const devname = /^DEVNAME=(?:\/dev\/)?(.+)$/m.exec(readText(path, 'uevent') ?? '')?.[1]
  return {
    key: number === null ? null : `${subsystem === 'block' ? 'b' : 'c'}${number}`,
    name: devname ?? name.replaceAll('!', '/'),
    subsystem,
    path,
    owner,
  }
}

/** A namespace of an nvme with several paths is a disk beside the device, with partitions and a node for commands. */
function headsOf(paths: readonly string[], owner: string, options: HostOptions): Node[] {
  const classes = join(sysfsRoot(options), 'class')
  return paths.flatMap((path) => {
    const match = /^nvme(\d+)c\d+n(\d+)$/.exec(basename(path))
    if (match === null) return []
    const [, subsystem = '', namespace = ''] = match
    const head = resolvePath(classes, 'block', `nvme${subsystem}n${namespace}`)
    const command = resolvePath(classes, 'nvme-generic', `ng${subsystem}n${namespace}`)
    const partitions = head === null ? [] : entries(head).filter((each) => each.isDirectory())
    return [head, command, ...partitions.map(({ name }) => join(head ?? '', name))].flatMap((each) =>
      each !== null && existsSync(join(each, 'dev')) ? [nodeAt(each, owner, options)] : [],
    )
  })
}

interface Found {
  readonly nodes: Node[]
  readonly interfaces: Interface[]
  readonly groups: Group[]
  readonly folders: string[]
  emptyNets: number
}

function walk(path: string, above: string, found: Found, options: HostOptions): void {
  const all = entries(path)
  const group = all.some(({ name }) => name === 'iommu_group') ? linkName(path, 'iommu_group') : null
  const owner = group === null ? above : basename(path)
  if (group !== null) found.groups.push({ number: Number(group), owner })
  for (const entry of all) {
    const { name } = entry
    if (name === 'dev' && entry.isFile()) {
      found.nodes.push(nodeAt(path, owner, options))
    } else if (!entry.isDirectory() || WITHOUT_DEVICES.has(name)) {
      continue
    } else if (name === 'net') {
      const own = entries(join(path, name)).filter((each) => each.isDirectory())
      for (const each of own) found.interfaces.push({ name: each.name, path: join(path, name, each.name) })
      // The kernel keeps the folder while one interface is left; one of another namespace is not listed.
      if (own.length === 0) found.emptyNets++
    } else {
      found.folders.push(join(path, name))
      walk(join(path, name), owner, found, options)
    }
  }
}

/** The device in directory `path`, links followed. */
export function subjectAt(path: string, options: HostOptions, isAsked = true): Subject {
  const name = basename(path)
  const found: Found = { nodes: [], interfaces: [], groups: [], folders: [], emptyNets: 0 }
  walk(path, name, found, options)
  const names = listNames(path) ?? []
  const functions = names
    .flatMap((name) => VIRTFN.exec(name)?.[1] ?? [])
    .sort((a, b) => Number(a) - Number(b))
    .flatMap((number) => linkName(path, `virtfn${number}`) ?? [])
  return {
    name,
    path,
    driver: linkName(path, 'driver'),
    nodes: [...found.nodes, ...headsOf(found.folders, name, options)],
    interfaces: found.interfaces,
    interfacesElsewhere: found.emptyNets > 0 && found.interfaces.length === 0,
    groups: found.groups,
    mdevs: names.filter((name) => MDEV.test(name)).sort(),
    functions,
    numVfs: Math.max(Number(readText(path, 'sriov_numvfs') ?? 0) || 0, functions.length),
    isAsked,
  }
}

/** The devices in the directories `paths`, each with its virtual functions after it. One that is not there is left out. */
export function subjectsAt(paths: readonly string[], options: HostOptions): Subject[] {
  const asked = new Set(paths.flatMap((path) => resolvePath(path) ?? []))
  const all = new Map<string, Subject>()
  const add = (path: string | null): void => {
    if (path === null || all.has(path)) return
    const subject = subjectAt(path, options, asked.has(path))
    all.set(path, subject)
    for (const name of subject.functions) add(resolvePath(sysfsRoot(options), 'bus', 'pci', 'devices', name))
  }
  for (const path of asked) add(path)
  return [...all.values()]
}
