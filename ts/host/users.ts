// Who has a device open through VFIO: its group's node, its own, or a descriptor of VFIO's. The kernel does not tell otherwise, and
// a write that takes a device from its user sleeps until the user lets go. It must not decide what follows from it.

import { array, string } from '../validate.js'
import { readIommuGroupNumber, readVfioDev } from './device.js'
import { checkHostOptions, type HostOptions, readText, resolvePath } from './sysfs.js'
import { openDescriptors } from './usage/descriptors.js'
import { readMounts } from './usage/mounts.js'
import type { DeviceUser } from './usage/types.js'
import { belowSysfs, groupNodes, ownDevice, type WantedNode } from './usage/vendor-nodes.js'

export interface DeviceUsers {
  readonly users: readonly DeviceUser[]
  /** How many processes do not show their descriptors to this user. */
  readonly hidden: number
}

function nodesAt(path: string, options: HostOptions): WantedNode[] {
  const group = readIommuGroupNumber(path)
  const own = ownDevice(path)
  const entry = readVfioDev(path, options)
  const number = entry === null ? null : readText(path, 'vfio-dev', entry.name, 'dev')
  return [
    ...(group === null ? [] : groupNodes([{ number: group, owner: own.device }], options)),
    ...(entry === null
      ? []
      : [{ ...own, key: number === null ? null : `c${number}`, name: `vfio/devices/${entry.name}` }]),
  ]
}

/** Who has one of the devices in the directories `paths` open. */
export function deviceUsers(paths: readonly string[], options: HostOptions = {}): DeviceUsers {
  checkHostOptions(options)
  for (const each of array(paths, 'paths')) string(each, 'a path')
  const there = paths.flatMap((each) => resolvePath(each) ?? [])
  if (there.length === 0) return { users: [], hidden: 0 }
  const { opened, hidden } = openDescriptors(
    there.flatMap((path) => nodesAt(path, options)),
    new Map(there.map((path) => [belowSysfs(path), ownDevice(path)])),
    () => readMounts(options),
    options,
  )
  // Of each process, what it has open first.
  const users = new Map<number, DeviceUser>()
  for (const { pid, command, target } of opened)
    if (!users.has(pid)) users.set(pid, { pid, command, node: target })
  return { users: [...users.values()], hidden }
}
