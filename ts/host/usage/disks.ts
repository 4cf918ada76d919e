// How the host uses the disks of a device: what is mounted, swapped to and built on them, by what the kernel lists, and, for all
// that it does not list, by whether it lets a disk be opened for oneself alone. It must not know descriptors or networks.

import { closeSync, constants, openSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { devRoot, type HostOptions, linkName, listNames, procRoot, readText, sysfsRoot } from '../sysfs.js'
import type { Node, Subject } from './below.js'
import { keyOf } from './descriptors.js'
import type { Mount, Mounts } from './mounts.js'
import type { DeviceUse, DeviceUsage, Unseen } from './types.js'

const REMEDY =
  'Unmount it, turn swap off, or remove it from what it is part of; a disk in use is never taken.'

/** What is said of one disk or partition. */
interface Found {
  readonly what: string
  readonly evidence: string
}

/** What is the same for all disks, read once. */
interface Host {
  readonly mounts: Mounts
  readonly swaps: readonly string[]
  readonly loops: readonly { name: string; file: string }[]
  readonly exports: readonly { file: string; evidence: string }[]
  /** Disks of file systems that have several: by the disk's name. */
  readonly members: ReadonlyMap<
    string,
    { type: string; id: string; evidence: string; all: readonly string[] }
  >
  readonly options: HostOptions
}

const quietly = <T>(read: () => T): T | null => {
  try {
    return read()
  } catch {
    return null
  }
}

function swapNames(options: HostOptions): string[] {
  const lines = (readText(procRoot(options), 'swaps') ?? '').split('\n').slice(1)
  return lines.flatMap((line) => /^(\/\S+)/.exec(line)?.[1] ?? [])
}

function loopFiles(options: HostOptions): Host['loops'] {
  const root = join(sysfsRoot(options), 'block')
  return (listNames(root) ?? [])
    .filter((name) => name.startsWith('loop'))
    .flatMap((name) => {
      const file = readText(root, name, 'loop', 'backing_file')
      return file === null ? [] : [{ name, file }]
    })
}

/** What the kernel itself gives to other machines: it opens a disk for that without holding it alone. */
function exportedFiles(options: HostOptions): Host['exports'] {
  const config = join(sysfsRoot(options), 'kernel', 'config')
  const below = (...path: string[]): string[] =>
    (quietly(() => listNames(...path)) ?? []).map((name) => join(...path, name))
  const files = [
    ...below(config, 'nvmet', 'subsystems').flatMap((each) =>
      below(each, 'namespaces').map((namespace) => join(namespace, 'device_path')),
    ),
    ...below(config, 'target', 'core')
      .filter((path) => /^(?:fileio|iblock|pscsi)_/.test(basename(path)))
      .flatMap((hba) => below(hba).map((each) => join(each, 'udev_path'))),
  ]
  return files.flatMap((evidence) => {
    const file = quietly(() => readText(evidence)) ?? ''
    return file.startsWith('/') ? [{ file, evidence }] : []
  })
}

function membersOf(options: HostOptions): Host['members'] {
  const members = new Map<string, { type: string; id: string; evidence: string; all: readonly string[] }>()
  const root = join(sysfsRoot(options), 'fs')
  for (const id of listNames(root, 'btrfs') ?? []) {
    const evidence = join(root, 'btrfs', id, 'devices')
    const all = listNames(evidence) ?? []
    for (const name of all) members.set(name, { type: 'btrfs', id, evidence, all })
  }
  for (const id of listNames(root, 'bcachefs') ?? []) {
    const evidence = join(root, 'bcachefs', id)
    const all = (listNames(evidence) ?? [])
      .filter((name) => name.startsWith('dev-'))
      .flatMap((name) => linkName(evidence, name, 'block') ?? [])
    for (const name of all) members.set(name, { type: 'bcachefs', id, evidence, all })
  }
  return members
}

/** Whether a path is the node of a disk, whatever it is called. */
function isNode(path: string, { key, name }: Node, options: HostOptions): boolean {
  if (path === join('/dev', name) || path === join(devRoot(options), name)) return true
  if (!path.startsWith('/dev/')) return false
  const found = quietly(() => statSync(path))
  return found !== null && key !== null && keyOf(found) === key
}

const where = ({ on, by }: Mount): string => `mounted on ${on}${by === null ? '' : ` for ${by}`}`

/** Whether a path is the node of one of these disks. */
function isOneOf(path: string, names: readonly string[], options: HostOptions): boolean {
  if (names.includes(basename(path))) return true
  if (!path.startsWith('/dev/')) return false
  const found = quietly(() => statSync(path))
  const key = found === null ? null : keyOf(found)
  return (
    key !== null &&
    names.some((name) => key === `b${readText(sysfsRoot(options), 'class', 'block', name, 'dev') ?? ''}`)
  )
}

/** What is mounted of the disk with this number and name. */
function mountOf(number: string | undefined, name: string, host: Host): Mount | undefined {
  const { mounts, members, options } = host
  const direct = mounts.mounts.find(({ device }) => device === number)
  const member = members.get(name)
  if (direct !== undefined || member === undefined) return direct
  return mounts.mounts.find(
    ({ type, source }) =>
      type === member.type && source.split(':').some((each) => isOneOf(each, member.all, options)),
  )
}

/** `dm-0 (vg-root)`, and what stands on it, up to what is mounted. */
function holderText(name: string, host: Host, seen: ReadonlySet<string>): string {
  const path = join(sysfsRoot(host.options), 'class', 'block', name)
  const title = readText(path, 'dm', 'name')
  const own = title === null ? name : `${name} (${title})`
  const mount = mountOf(readText(path, 'dev') ?? undefined, name, host)
  if (mount !== undefined) return `${own}, ${where(mount)}`
  if (host.swaps.some((each) => isOneOf(each, [name], host.options))) return `${own}, which is swap`
  const [next] = (listNames(path, 'holders') ?? []).filter((each) => !seen.has(each))
  return next === undefined ? own : `${own}, ${holderText(next, host, new Set([...seen, next]))}`
}

/** What the kernel lists. */
function listed(disk: Node, host: Host): Found[] {
  const { swaps, loops, exports, members, options } = host
  const name = basename(disk.path)
  const mount = mountOf(disk.key?.slice(1), name, host)
  const member = members.get(name)
  const holders = (listNames(disk.path, 'holders') ?? []).sort()
  return [
    ...(mount === undefined ? [] : [{ what: `${name} is ${where(mount)}`, evidence: mount.evidence }]),
    ...(member === undefined || mount !== undefined
      ? []
      : [{ what: `${name} is part of the ${member.type} ${member.id}`, evidence: member.evidence }]),
    ...(swaps.some((each) => isNode(each, disk, options))
      ? [{ what: `${name} is swap`, evidence: join(procRoot(options), 'swaps') }]
      : []),
    ...holders.map((holder) => ({
      what: `${name} is part of ${holderText(holder, host, new Set([holder]))}`,
      evidence: join(disk.path, 'holders', holder),
    })),
    ...(existsFolder(disk.path, 'bcache')
      ? [{ what: `${name} is part of bcache`, evidence: join(disk.path, 'bcache') }]
      : []),
    ...loops
      .filter(({ file }) => isNode(file, disk, options))
      .map((loop) => ({
        what: `${name} is behind ${holderText(loop.name, host, new Set([loop.name]))}`,
        evidence: join(sysfsRoot(options), 'block', loop.name, 'loop', 'backing_file'),
      })),
    ...exports
      .filter(({ file }) => isNode(file, disk, options))
      .map(({ evidence }) => ({ what: `${name} is exported to other machines`, evidence })),
  ]
}

const existsFolder = (...path: string[]): boolean => listNames(...path) !== null

/** What an exclusive open says. `free` also where there is no medium, or no disk any more. */
type Answer = 'free' | 'busy' | { readonly why: string }

const CALM: readonly string[] = ['ENOMEDIUM', 'ENXIO', 'ENODEV']
/** Node has no name for it. */
const ENOMEDIUM = -123

/**
 * Opens a disk for this process alone, for a moment. The kernel refuses while a file system, swap, md, dm, ZFS, bcache or anything
 * else that wants it alone has it, or one of its partitions, or all of it.
 */
function openAlone({ key, name }: Node, options: HostOptions): Answer {
  const path = join(devRoot(options), name)
  try {
    const found = statSync(path)
    if (keyOf(found) !== key) return { why: `${path} is the node of another device` }
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK))
    return 'free'
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error
    const code = String(error.code)
    if (code === 'EBUSY') return 'busy'
    if (CALM.includes(code) || ('errno' in error && error.errno === ENOMEDIUM)) return 'free'
    return { why: code === 'ENOENT' ? `there is no node ${path}` : `${path} cannot be opened (${code})` }
  }
}

/** The disks of a device, each after its partitions: one of them in use is why the whole disk is. */
function inOrder(disks: readonly Node[]): { whole: Node; parts: readonly Node[] }[] {
  const isPart = ({ path }: Node): boolean => readText(path, 'partition') !== null
  return [...disks]
    .sort((a, b) => a.path.localeCompare(b.path, 'en', { numeric: true }))
    .filter((disk) => !isPart(disk))
    .map((whole) => ({
      whole,
      parts: disks.filter((disk) => isPart(disk) && disk.path.startsWith(`${whole.path}/`)),
    }))
}

/** One disk and its partitions; what could not be looked at goes to `unseen`. */
function oneDisk(whole: Node, parts: readonly Node[], host: Host, unseen: Unseen[]): DeviceUse[] {
  const { options } = host
  const uses: DeviceUse[] = []
  const tell = ({ what, evidence }: Found): void => {
    uses.push({ kind: 'disk', device: whole.owner, what, evidence, remedy: REMEDY, mustEnd: true })
  }
  for (const disk of [...parts, whole]) {
    const found = listed(disk, host)
    for (const each of found) tell(each)
    // What is known to be in use is not asked again; nor the whole of it, which cannot be had alone then.
    if (found.length > 0 || (disk === whole && uses.length > 0)) continue
    const answer = openAlone(disk, options)
    const name = basename(disk.path)
    if (answer === 'busy')
      tell({
        what: `${name} is held by the kernel or a program: a file system, RAID, LVM, ZFS, bcache or the like`,
        evidence: `open(${join(devRoot(options), disk.name)}, O_EXCL): EBUSY`,
      })
    else if (answer !== 'free')
      unseen.push({ what: `whether anything holds ${name} (${whole.owner})`, why: answer.why })
  }
  return uses
}

/** How the disks of `subjects` are used. `mounts` is asked only if there are any. */
export function diskUsage(
  subjects: readonly Subject[],
  mounts: () => Mounts,
  options: HostOptions,
): DeviceUsage {
  const disks = subjects.flatMap(({ nodes }) =>
    nodes.filter(({ subsystem, key }) => subsystem === 'block' && key !== null),
  )
  const unseen: Unseen[] = []
  if (disks.length === 0) return { uses: [], unseen }
  const host: Host = {
    mounts: mounts(),
    swaps: swapNames(options),
    loops: loopFiles(options),
    exports: exportedFiles(options),
    members: membersOf(options),
    options,
  }
  const uses = inOrder(disks).flatMap(({ whole, parts }) => oneDisk(whole, parts, host, unseen))
  // A disk that could be had alone is mounted nowhere.
  const { hidden } = host.mounts
  if (hidden > 0 && unseen.length > 0)
    unseen.push({
      what: `what is mounted for ${hidden} process${hidden === 1 ? '' : 'es'}`,
      why: 'this user may not see it',
    })
  return { uses, unseen }
}
