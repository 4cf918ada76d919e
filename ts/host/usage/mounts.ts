// What is mounted, in every mount namespace that can be seen. It must not know which device it is asked for.

import { closeSync, constants, openSync, readlinkSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { type HostOptions, listNames, procRoot, readText } from '../sysfs.js'

export interface Mount {
  /** Device number, such as `259:0`. */
  readonly device: string
  readonly on: string
  readonly type: string
  /** What was mounted, such as `/dev/nvme0n1`. */
  readonly source: string
  /** Whose namespace it is in, such as `process 812 (dockerd)`; null for that of this process. */
  readonly by: string | null
  /** The file that says so. */
  readonly evidence: string
}

export interface Mounts {
  /** Of disks: those without a number of a device are left out, but for file systems that have several disks. */
  readonly mounts: readonly Mount[]
  /** By the number of the mount: whether looking at a file there asks another machine or program, which may never answer. */
  readonly remote: ReadonlyMap<number, boolean>
  /** How many processes do not show what is mounted for them. */
  readonly hidden: number
  /** Options of procfs, as this process has it. */
  readonly procOptions: string
}

/** They have a number of their own, which is none of their disks'. */
export const SEVERAL_DISKS: ReadonlySet<string> = new Set(['btrfs', 'bcachefs', 'zfs'])

const REMOTE =
  /^(?:nfs4?|cifs|smb3|smbfs|fuse|fuse\..*|fuseblk|9p|virtiofs|ceph|afs|coda|lustre|gpfs|beegfs|orangefs|pvfs2|ncpfs)$/

const NONBLOCK = 'O_NONBLOCK' in constants ? constants.O_NONBLOCK : 0
/** The kernel gives one page or a few at a time, but for a reader that asks for more. */
const CHUNK = 1 << 20

/** A file of procfs, as long as it is: a host with many containers has megabytes of mounts. At most `most` bytes, if given. */
function readProc(path: string, most = Infinity): string {
  const fd = openSync(path, constants.O_RDONLY | NONBLOCK)
  try {
    const parts: Buffer[] = []
    let length = 0
    while (length < most) {
      const part = Buffer.allocUnsafe(Math.min(CHUNK, most))
      const count = readSync(fd, part, 0, part.length, null)
      if (count === 0) break
      parts.push(part.subarray(0, count))
      length += count
    }
    return Buffer.concat(parts).toString('utf8')
  } finally {
    closeSync(fd)
  }
}

/** The kernel writes a blank in a path as `\040`. */
const unescaped = (text: string): string =>
  text.includes('\\')
    ? text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(parseInt(octal, 8)))
    : text

/** The start of field `index` of a line, counted from 0. */
function fieldAt(line: string, index: number): number {
  let at = 0
  for (let field = 0; field < index; field++) {
    const blank = line.indexOf(' ', at)
    if (blank < 0) return line.length
    at = blank + 1
  }
  return at
}

const field = (line: string, at: number): string => {
  const end = line.indexOf(' ', at)
  return line.slice(at, end < 0 ? undefined : end)
}

const linkText = (...path: string[]): string | null => {
  try {
    return readlinkSync(join(...path))
  } catch {
    return null
  }
}

/**
 * Which mounts a process sees: those of its namespace that are below its root. Where its namespace is not told, its first line
 * tells two apart, as each mount has a number of its own.
 */
function viewOf(folder: string): string {
  const namespace = linkText(folder, 'ns', 'mnt')
  if (namespace !== null) return `${namespace} ${linkText(folder, 'root') ?? ''}`
  return readProc(join(folder, 'mountinfo'), 64).split(' ', 2).join(' ')
}

/** The kernel does not show it to this user. */
export const isDenied = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM')

/** Reads the mounts of this process, and of every other that sees others. */
export function readMounts(options: HostOptions): Mounts {
  const proc = procRoot(options)
  const mounts: Mount[] = []
  const remote = new Map<number, boolean>()
  const views = new Set<string>()
  let hidden = 0
  let procOptions = ''
  const pids = (listNames(proc) ?? []).filter((name) => /^\d+$/.test(name))
  for (const pid of ['self', ...pids]) {
    const folder = join(proc, pid)
    const evidence = join(folder, 'mountinfo')
    let text: string
    try {
      const view = viewOf(folder)
      if (views.has(view)) continue
      text = readProc(evidence)
      views.add(view)
    } catch (error) {
      // A process that ends meanwhile has none (ENOENT, EINVAL, ESRCH).
      if (isDenied(error)) hidden++
      continue
    }
    const by =
      pid === 'self'
        ? null
        : `process ${pid}${((name) => (name === null ? '' : ` (${name})`))(nameOf(folder))}`
    for (const line of text.split('\n')) {
      const separator = line.indexOf(' - ')
      if (separator < 0) continue
      const type = field(line, separator + 3)
      remote.set(Number(field(line, 0)), REMOTE.test(type))
      if (type === 'proc' && pid === 'self' && field(line, fieldAt(line, 4)) === proc)
        procOptions = line.slice(separator + 3)
      const device = field(line, fieldAt(line, 2))
      if (device.startsWith('0:') && !SEVERAL_DISKS.has(type)) continue
      const on = unescaped(field(line, fieldAt(line, 4)))
      const source = unescaped(field(line, separator + 4 + type.length))
      mounts.push({ device, on, type, source, by, evidence })
    }
  }
  return { mounts, remote, hidden, procOptions }
}

function nameOf(folder: string): string | null {
  try {
    return readText(folder, 'comm')
  } catch {
    return null
  }
}
