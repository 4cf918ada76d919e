// Reads single files and links of sysfs. It must not know what any of them means, and it never writes.

import { closeSync, constants, openSync, readdirSync, readlinkSync, readSync, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'

import { object, options as optionsOf, string } from '../validate.js'

/** Where to look; every reader of this folder takes it. */
export interface HostOptions {
  /** Where sysfs is mounted, default `/sys`. */
  readonly sysfsRoot?: string
  /** Where device nodes are, default `/dev`. */
  readonly devRoot?: string
  /** Where procfs is mounted, default `/proc`. */
  readonly procRoot?: string
  /** The database of PCI names; by default the first below `shareRoot` in a place that distributions use. */
  readonly pciIds?: string
  /** Where data that does not depend on the machine is, default `/usr/share`. */
  readonly shareRoot?: string
  /** Where the settings of the system are, default `/etc`. */
  readonly etcRoot?: string
  /** Where the kernel's modules are, default `/lib/modules`. */
  readonly modulesRoot?: string
  /** Where packages are installed, default `/usr`. */
  readonly usrRoot?: string
}

const ROOTS = [
  'sysfsRoot',
  'devRoot',
  'procRoot',
  'pciIds',
  'shareRoot',
  'etcRoot',
  'modulesRoot',
  'usrRoot',
] as const

/**
 * What every public reader calls before it reads anything.
 * @throws TypeError if `options` is no object, or one of them no text
 */
export function checkHostOptions(options: HostOptions): void {
  const given = object(options, 'options')
  for (const name of ROOTS) if (given[name] !== undefined) string(given[name], `options.${name}`)
}

function root(options: HostOptions, name: keyof HostOptions, usual: string): string {
  const value = optionsOf(options, 'options')[name]
  return value === undefined ? usual : string(value, `options.${name}`)
}

/** Where sysfs is. */
export function sysfsRoot(options: HostOptions): string {
  return root(options, 'sysfsRoot', '/sys')
}

/** Where device nodes are. */
export function devRoot(options: HostOptions): string {
  return root(options, 'devRoot', '/dev')
}

/** Where procfs is. */
export function procRoot(options: HostOptions): string {
  return root(options, 'procRoot', '/proc')
}

/** Where settings of the system are. */
export function etcRoot(options: HostOptions): string {
  return root(options, 'etcRoot', '/etc')
}

/** Debian's place, then that of Fedora, Arch, RHEL and Alpine, then openSUSE's and that of pciutils itself. */
const PCI_IDS = ['misc/pci.ids', 'hwdata/pci.ids', 'pci.ids']

/** Where the names of PCI devices may be; each may be there compressed too, with `.gz` behind its name. */
export function pciIdsPaths(options: HostOptions): string[] {
  if (options.pciIds !== undefined) return [root(options, 'pciIds', '')]
  const share = root(options, 'shareRoot', '/usr/share')
  return PCI_IDS.map((name) => join(share, name))
}

/** Where packages are installed. */
export function usrRoot(options: HostOptions): string {
  return root(options, 'usrRoot', '/usr')
}

/** Where the kernel's modules are. */
export function modulesRoot(options: HostOptions): string {
  return root(options, 'modulesRoot', '/lib/modules')
}

/**
 * ENODEV is what sysfs answers for a file of a device that was removed after the file was opened; ENAMETOOLONG that no
 * file can have the name.
 */
const ABSENT: readonly string[] = ['ENOENT', 'ENOTDIR', 'ENODEV', 'ENAMETOOLONG']

/** Runs `read`; null where its subject is not there. Other failures (EACCES, EIO) are thrown as they are. */
function orNull<T>(read: () => T, absent: readonly string[] = ABSENT): T | null {
  try {
    return read()
  } catch (error) {
    if (error instanceof Error && 'code' in error && absent.includes(String(error.code))) return null
    throw error
  }
}

/** No attribute of sysfs is longer than a page, of which the largest has 64 KiB. */
const LARGEST_FILE = 65536
/** One for all reads, none of which waits: a host has thousands of files. */
const BYTES = Buffer.alloc(LARGEST_FILE + 1)

// Windows has no such flag.
const NONBLOCK = 'O_NONBLOCK' in constants ? constants.O_NONBLOCK : 0

/**
 * Gives what `use` makes of the bytes, which are the next reader's afterwards. Never waits, not even for a FIFO in the
 * place of a file, and takes no more than a bounded part of memory.
 */
function readBounded<T>(path: string, use: (bytes: Buffer) => T): T {
  const fd = openSync(path, constants.O_RDONLY | NONBLOCK)
  try {
    let length = 0
    while (length < BYTES.length) {
      const count = readSync(fd, BYTES, length, BYTES.length - length, null)
      if (count === 0) return use(BYTES.subarray(0, length))
      length += count
    }
  } finally {
    closeSync(fd)
  }
  throw new Error(`${path} has more than ${LARGEST_FILE} bytes, which no kernel attribute has`)
}

/**
 * A file's text without the white space around it; null if there is no such file.
 * @throws Error naming the path if it is longer than 64 KiB
 */
export function readText(...path: string[]): string | null {
  return orNull(() => readBounded(join(...path), (bytes) => bytes.toString('utf8')))?.trim() ?? null
}

/**
 * The text at the start of a file of any length, `most` bytes of it; null if there is no such file, or it may not be read.
 */
export function readStart(most: number, ...path: string[]): string | null {
  try {
    const fd = openSync(join(...path), constants.O_RDONLY | NONBLOCK)
    try {
      const bytes = Buffer.alloc(most)
      return bytes.toString('utf8', 0, readSync(fd, bytes, 0, most, 0))
    } finally {
      closeSync(fd)
    }
  } catch {
    return null
  }
}

/**
 * A file's bytes; null if there is no such file.
 * @throws Error naming the path if it is longer than 64 KiB
 */
export function readBytes(...path: string[]): Uint8Array | null {
  return orNull(() => readBounded(join(...path), (bytes) => Uint8Array.from(bytes)))
}

/**
 * A file that holds one number, in decimal or `0x` hexadecimal; null if there is no such file.
 * @throws Error naming the path if it holds anything else
 */
export function readNumber(...path: string[]): number | null {
  const text = readText(...path)
  if (text === null) return null
  const value = Number(text)
  if (text === '' || !Number.isSafeInteger(value))
    throw new Error(`${join(...path)} contains ${JSON.stringify(text)}, not a number`)
  return value
}

/**
 * The same for a number that is never negative, nor above `most`.
 * @throws Error naming the path if it holds anything else
 */
export function readUnsigned(most: number, ...path: string[]): number | null {
  const value = readNumber(...path)
  if (value !== null && (value < 0 || value > most))
    throw new Error(`${join(...path)} contains ${value}, not a number from 0 to ${most}`)
  return value
}

/** The last part of what a link points to (a driver's, bus's or device's name); null if there is no link. */
export function linkName(...path: string[]): string | null {
  // EINVAL: there is something, but it is no link.
  const target = orNull(() => readlinkSync(join(...path)), [...ABSENT, 'EINVAL'])
  return target === null ? null : basename(target)
}

/** The names in a directory, in no particular order; null if there is no such directory. */
export function listNames(...path: string[]): string[] | null {
  return orNull(() => readdirSync(join(...path)))
}

/** A path with every link followed; null if it leads nowhere. */
export function resolvePath(...path: string[]): string | null {
  return orNull(() => realpathSync.native(join(...path)))
}
