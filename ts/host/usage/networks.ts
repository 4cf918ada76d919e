// How the host uses the network interfaces of a device: up, with routes, part of a bridge, a bond or a VLAN, or given to another
// network namespace. It must not know descriptors or disks.

import { join } from 'node:path'
import { type HostOptions, linkName, listNames, procRoot, readText } from '../sysfs.js'
import type { Subject } from './below.js'
import type { DeviceUse } from './types.js'

const IFF_UP = 1
const DEFAULT_ROUTE = '00000000'

/** Interfaces that a default route goes through. */
function defaultRoutes(options: HostOptions): Set<string> {
  const net = join(procRoot(options), 'self', 'net')
  const lines = (file: string): string[][] =>
    (quietly(() => readText(net, file)) ?? '').split('\n').map((line) => line.trim().split(/\s+/))
  const v4 = lines('route').flatMap(([name = '', to, , , , , , mask]) =>
    to === DEFAULT_ROUTE && mask === DEFAULT_ROUTE ? [name] : [],
  )
  const v6 = lines('ipv6_route').flatMap((fields) =>
    /^0+$/.test(fields[0] ?? '') && fields[1] === '00' ? [fields.at(-1) ?? ''] : [],
  )
  return new Set([...v4, ...v6])
}

const quietly = <T>(read: () => T): T | null => {
  try {
    return read()
  } catch {
    return null
  }
}

export function networkUses(subject: Subject, options: HostOptions): DeviceUse[] {
  const { name: device, interfaces, interfacesElsewhere } = subject
  if (interfacesElsewhere)
    return [
      {
        kind: 'network',
        device,
        what: 'its network interface is in another network namespace',
        evidence: 'its folder net is empty here',
        remedy: 'Move it back first, from there: ip link set NAME netns 1',
        mustEnd: true,
      },
    ]
  if (interfaces.length === 0) return []
  const routes = defaultRoutes(options)
  return interfaces.flatMap(({ name, path }): DeviceUse[] => {
    const above = (listNames(path) ?? []).flatMap((each) => /^upper_(.+)$/.exec(each)?.[1] ?? [])
    const master = linkName(path, 'master')
    const part = (what: string, evidence: string, remedy: string): DeviceUse => ({
      kind: 'network',
      device,
      what,
      evidence: join(path, evidence),
      remedy,
      mustEnd: true,
    })
    const parts = [
      ...(master === null
        ? []
        : [
            part(`${name} is part of ${master}`, 'master', `Take it out first: ip link set ${name} nomaster`),
          ]),
      ...above
        .filter((each) => each !== master)
        .map((each) =>
          part(`${each} stands on ${name}`, `upper_${each}`, `Remove it first: ip link del ${each}`),
        ),
    ]
    if (parts.length > 0) return parts
    const flags = Number(readText(path, 'flags') ?? 0)
    if ((flags & IFF_UP) === 0) return []
    return [
      {
        kind: 'network',
        device,
        what: `${name} is up${routes.has(name) ? ', and a default route goes through it' : ''}`,
        evidence: join(path, 'flags'),
        remedy: `Take it down first, if nothing needs it: ip link set ${name} down`,
        mustEnd: false,
      },
    ]
  })
}
