// Who has a device open: descriptors of VFIO's nodes in /proc. The kernel does not tell otherwise, and a write that takes a
// device from its user sleeps until the user lets go. It must not decide what follows from it.

import { readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { array, string } from '../validate.js'
import { readIommuGroupNumber, readVfioDev } from './device.js'
import { checkHostOptions, type HostOptions, listNames, procRoot, readText, resolvePath } from './sysfs.js'

/** A process that has a device, or the group that it is in, open. */
export interface DeviceUser {
  readonly pid: number
  /** As the process calls itself; null if it does not say. */
  readonly command: string | null
  /** What it has open: a node such as `/dev/vfio/12`, or `vfio-device`. */
  readonly node: string
}

export interface DeviceUsers {
  readonly users: readonly DeviceUser[]
  /** How many processes do not show their descriptors to this user. */
  readonly hidden: number
}

const quietly = <T>(read: () => T): T | null => {
  try {
    return read()
  } catch {
    return null
  }
}

/** Who has one of the devices in the directories `paths` open. */
export function deviceUsers(paths: readonly string[], options: HostOptions = {}): DeviceUsers {
  checkHostOptions(options)
  const nodes = new Set<string>()
  const devices = new Set<string>()
  for (const each of array(paths, 'paths')) string(each, 'a path')
  for (const each of paths) {
    const path = resolvePath(each)
    if (path === null) continue
    // fdinfo gives the path below sysfs's mount point.
    devices.add(path.slice(path.indexOf('/devices/')))
    const group = readIommuGroupNumber(path)
    if (group !== null) nodes.add(`vfio/${group}`).add(`vfio/noiommu-${group}`)
    const entry = readVfioDev(path, options)
    if (entry !== null) nodes.add(`vfio/devices/${entry.name}`)
  }
  if (devices.size === 0) return { users: [], hidden: 0 }
  const proc = procRoot(options)
  const users: DeviceUser[] = []
  let hidden = 0
  for (const name of (listNames(proc) ?? []).filter((each) => /^\d+$/.test(each))) {
    const descriptors = quietly(() => listNames(proc, name, 'fd'))
    if (descriptors === null) {
      if (quietly(() => listNames(proc, name)) !== null) hidden++
      continue
    }
    const found = descriptors.flatMap((fd) => {
      const target = quietly(() => readlinkSync(join(proc, name, 'fd', fd)))
      if (target === null) return []
      if (target === 'anon_inode:[vfio-device]') {
        // From Linux 6.16 on.
        const info = quietly(() => readText(proc, name, 'fdinfo', fd)) ?? ''
        const path = /^vfio-device-syspath:\s*(?:\/sys)?(\/\S+)/m.exec(info)?.[1]
        return path !== undefined && devices.has(path) ? ['vfio-device'] : []
      }
      const node = /(?:^|\/)(vfio\/(?:devices\/vfio\d+|(?:noiommu-)?\d+))$/.exec(target)?.[1]
      return node !== undefined && nodes.has(node) ? [target] : []
    })
    const [node] = found
    if (node === undefined) continue
    users.push({ pid: Number(name), command: quietly(() => readText(proc, name, 'comm')), node })
  }
  return { users, hidden }
}
