// Which processes have which nodes open: one pass over the descriptors of all of them. A node is known by its device number, as
// every mount namespace may have its own, under any name. It must not know what the nodes belong to.

import { readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { devRoot, type HostOptions, listNames, procRoot, readText } from '../sysfs.js'
import { isDenied, type Mounts } from './mounts.js'

/** A node to look for. */
export interface Wanted {
  /** `b259:0` or `c226:128`; null where only the name is known. */
  readonly key: string | null
  /** Below `/dev`. */
  readonly name: string
}

export interface Opened<W> {
  readonly pid: number
  /** As the process calls itself; null if it does not say. */
  readonly command: string | null
  readonly wanted: W
  /** The file that it has open, as it names it. */
  readonly target: string
  readonly evidence: string
}

export interface Descriptors<W> {
  readonly opened: readonly Opened<W>[]
  /** How many processes do not show their descriptors to this user. */
  readonly hidden: number
  /** Processes with a device of VFIO open that this kernel does not name, and no node of VFIO beside it. */
  readonly nameless: readonly number[]
}

/** What VFIO's descriptor of a device is called, which says from Linux 6.16 on which device it is. */
const VFIO_DEVICE = 'anon_inode:[vfio-device]'

const MODE_TYPE = 0o170000
const MODE_BLOCK = 0o060000
const MODE_CHARACTER = 0o020000

/** As the C library packs a device number. */
const BYTE = 0x100
const MAJOR_LOW = 0x1000
const MINOR_HIGH = 2 ** 20
const MAJOR_HIGH = 2 ** 32

/** Such as `b259:0`; null for a file that is no node. */
export function keyOf({ mode, rdev }: { readonly mode: number; readonly rdev: number }): string | null {
  const type = mode & MODE_TYPE
  if (type !== MODE_BLOCK && type !== MODE_CHARACTER) return null
  const low = Math.floor(rdev / BYTE) % MAJOR_LOW
  const major = low + Math.floor(rdev / (MAJOR_HIGH * MAJOR_LOW)) * MAJOR_LOW
  const minor = (rdev % BYTE) + (Math.floor(rdev / MINOR_HIGH) % MAJOR_LOW) * BYTE
  return `${type === MODE_BLOCK ? 'b' : 'c'}${major}:${minor}`
}

const quietly = <T>(read: () => T, denied?: () => void): T | null => {
  try {
    return read()
  } catch (error) {
    if (isDenied(error)) denied?.()
    return null
  }
}

/** What every process has open and nobody gives to a guest. */
const isCommon = (target: string): boolean => target === '/dev/null' || target.startsWith('/dev/pts/')

/**
 * Whether looking at what a descriptor stands for may wait for another machine or program. A node in `/dev` does not; elsewhere
 * the mount decides, and one that is mounted nowhere any more is not trusted.
 */
function mayHang(target: string, folder: string, fd: string, mounts: () => Mounts): boolean {
  if (target.startsWith('/dev/')) return false
  const info = quietly(() => readText(folder, 'fdinfo', fd)) ?? ''
  const mount = /^mnt_id:\s*(\d+)/m.exec(info)?.[1]
  return mount === undefined ? false : (mounts().remote.get(Number(mount)) ?? true)
}

/** The part of a path below the last `/dev`. */
const belowDev = (target: string): string => target.slice(target.lastIndexOf('/dev/') + '/dev/'.length)

/**
 * Looks for nodes, and for VFIO's descriptors of the devices in `devices`, by their path below sysfs's mount point.
 * @param mounts asked only where a file lies that may not be looked at
 */
export function openDescriptors<W extends Wanted>(
  nodes: readonly W[],
  devices: ReadonlyMap<string, W>,
  mounts: () => Mounts,
  options: HostOptions,
): Descriptors<W> {
  const keys = new Map<string, W[]>()
  const names = new Map<string, W[]>()
  const enter = (map: Map<string, W[]>, key: string, wanted: W): void => {
    const there = map.get(key)
    if (there === undefined) map.set(key, [wanted])
    else there.push(wanted)
  }
  for (const each of nodes) {
    if (each.key !== null) enter(keys, each.key, each)
    enter(names, each.name, each)
  }
  const proc = procRoot(options)
  const ownNodes = `${devRoot(options)}/`

  const matches = (folder: string, fd: string, target: string, denied: () => void): readonly W[] => {
    if (mayHang(target, folder, fd, mounts)) return []
    const found = quietly(() => statSync(join(folder, 'fd', fd)), denied)
    const key = found === null ? null : keyOf(found)
    if (key !== null) return keys.get(key) ?? []
    // Gone, or a stand-in: then its name is all that there is.
    return found === null || target.startsWith(ownNodes) ? (names.get(belowDev(target)) ?? []) : []
  }

  const opened: Opened<W>[] = []
  const nameless: number[] = []
  const hidden = new Set<string>()
  for (const pid of (listNames(proc) ?? []).filter((each) => /^\d+$/.test(each))) {
    const folder = join(proc, pid)
    // Some may list a process's descriptors and not follow them: that takes CAP_SYS_PTRACE, or being its user.
    const denied = (): void => {
      hidden.add(pid)
    }
    const descriptors = quietly(() => listNames(folder, 'fd'), denied) ?? []
    let unnamed = false
    let hasNode = false
    const own: Omit<Opened<W>, 'pid' | 'command'>[] = []
    for (const fd of descriptors) {
      const target = quietly(() => readlinkSync(join(folder, 'fd', fd)), denied)
      if (target === null) continue
      const evidence = join(folder, 'fd', fd)
      if (target === VFIO_DEVICE) {
        const info = quietly(() => readText(folder, 'fdinfo', fd)) ?? ''
        const path = /^vfio-device-syspath:\s*(?:\/sys)?(\/\S+)/m.exec(info)?.[1]
        if (path === undefined) unnamed = true
        const wanted = path === undefined ? undefined : devices.get(path)
        if (wanted !== undefined) own.push({ wanted, target: 'vfio-device', evidence })
      } else if (target.startsWith('/') && !isCommon(target)) {
        if (/\/vfio\/(?:\d|noiommu-|devices\/)/.test(target)) hasNode = true
        for (const wanted of matches(folder, fd, target, denied)) own.push({ wanted, target, evidence })
      }
    }
    if (unnamed && !hasNode) nameless.push(Number(pid))
    if (own.length === 0) continue
    const command = quietly(() => readText(folder, 'comm'))
    for (const each of own) opened.push({ pid: Number(pid), command, ...each })
  }
  return { opened, hidden: hidden.size, nameless }
}
