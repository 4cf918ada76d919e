// What the host itself does with a PCI device: file systems and swap on its disks, network interfaces that are up, its screen.
// It must not decide what follows from it.

import { join, sep } from 'node:path'
import { string } from '../validate.js'
import {
  checkHostOptions,
  type HostOptions,
  listNames,
  procRoot,
  readText,
  resolvePath,
  sysfsRoot,
} from './sysfs.js'

/** Something that the host would lose with the device. */
export interface HostUse {
  /** `disk`: mounted, swapped to, or part of another disk; `network`: an interface that is up; `screen`. */
  readonly kind: 'disk' | 'network' | 'screen'
  /** Such as `nvme0n1p2 is mounted on /`. */
  readonly what: string
}

const IFF_UP = 1

/** Entries of a class whose device is the one in directory `path`, or below it. */
function entriesOf(path: string, className: string, options: HostOptions): { name: string; path: string }[] {
  const root = join(sysfsRoot(options), 'class', className)
  return (listNames(root) ?? []).sort().flatMap((name) => {
    const entry = resolvePath(root, name)
    return entry?.startsWith(path + sep) === true ? [{ name, path: entry }] : []
  })
}

/** Disks and partitions of the device. A namespace of an nvme with several paths is a disk beside the device. */
function disksOf(path: string, options: HostOptions): { name: string; path: string }[] {
  const own = entriesOf(path, 'block', options)
  const root = join(sysfsRoot(options), 'class', 'block')
  const heads = own.flatMap(({ name }) => {
    const match = /^(nvme\d+)c\d+(n\d+)$/.exec(name)
    if (match === null) return []
    const head = `${match[1] ?? ''}${match[2] ?? ''}`
    return (listNames(root) ?? []).filter((each) => each === head || each.startsWith(`${head}p`))
  })
  return [
    ...own,
    ...heads.flatMap((name) => {
      const entry = resolvePath(root, name)
      return entry === null ? [] : [{ name, path: entry }]
    }),
  ]
}

function diskUses(path: string, options: HostOptions): string[] {
  const disks = disksOf(path, options)
  if (disks.length === 0) return []
  const mounts = (readText(procRoot(options), 'self', 'mountinfo') ?? '')
    .split('\n')
    .map((line) => line.split(' '))
  const swaps = (readText(procRoot(options), 'swaps') ?? '').split('\n').map((line) => line.split(/\s+/)[0])
  return disks.flatMap(({ name, path: entry }) => {
    const number = readText(entry, 'dev')
    const mounted = mounts.filter((fields) => fields[2] === number).map((fields) => fields[4] ?? '')
    const holders = listNames(entry, 'holders') ?? []
    return [
      ...mounted.slice(0, 1).map((on) => `${name} is mounted on ${on}`),
      ...(swaps.includes(`/dev/${name}`) ? [`${name} is swap`] : []),
      ...holders.map((holder) => `${name} is part of ${holder}`),
    ]
  })
}

/** What the host uses of the device in directory `path`, links followed. */
export function hostUses(path: string, options: HostOptions = {}): HostUse[] {
  checkHostOptions(options)
  string(path, 'path')
  const up = entriesOf(path, 'net', options).filter(
    ({ path: entry }) => (Number(readText(entry, 'flags') ?? 0) & IFF_UP) !== 0,
  )
  return [
    ...diskUses(path, options).map((what): HostUse => ({ kind: 'disk', what })),
    ...up.map(({ name }): HostUse => ({ kind: 'network', what: `${name} is up` })),
    ...(readText(path, 'boot_vga') === '1'
      ? [{ kind: 'screen', what: 'the machine boots with this screen' } as const]
      : []),
  ]
}
