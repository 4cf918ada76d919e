// Who uses a device and everything below it: by descriptors, disks, network interfaces, virtual functions and mediated devices;
// and which of these ways could not be gone. It must not decide what follows from it.

import { readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { array, string } from '../../validate.js'
import { checkHostOptions, type HostOptions, listNames, procRoot } from '../sysfs.js'
import { type Subject, subjectsAt } from './below.js'
import { openDescriptors, type Opened } from './descriptors.js'
import { diskUsage } from './disks.js'
import { type Mounts, readMounts } from './mounts.js'
import { networkUses } from './networks.js'
import { screenUses } from './screen.js'
import type { DeviceUsage, DeviceUse, Unseen } from './types.js'
import { belowSysfs, nodesOf, ownDevice, type WantedNode } from './vendor-nodes.js'

/** Each is read once, whoever asks. */
function once<T>(read: () => T): () => T {
  let value: { readonly read: T } | undefined
  return () => (value ??= { read: read() }).read
}

/** Where a process cannot be kept from what it has open by losing it: it only stops giving anything. */
const GIVEN_UP: ReadonlySet<string> = new Set(['input', 'hidraw'])

const SLEEPS =
  'Taking a device from a process that has it open sleeps in the kernel, possibly forever: close it there first.'

/** By process, what it has open of each device: those of its descriptors that say that it uses the device. */
function openUses(opened: readonly Opened<WantedNode>[], below: (device: string) => string): DeviceUse[] {
  const groups = new Map<string, Opened<WantedNode>[]>()
  for (const each of opened) {
    const key = `${each.wanted.device} ${each.pid}`
    groups.set(key, [...(groups.get(key) ?? []), each])
  }
  return [...groups.values()].flatMap((all) => {
    const says = (what: WantedNode['says']): boolean => all.some(({ wanted }) => wanted.says === what)
    if (!says('own') && (!says('shared') || says('other'))) return []
    const counted = all.filter(({ wanted }) => wanted.says !== 'other')
    const harmless = ({ wanted }: Opened<WantedNode>): boolean => GIVEN_UP.has(wanted.subsystem ?? '')
    return [counted.filter((each) => !harmless(each)), counted.filter(harmless)].flatMap((some, index) => {
      const [first] = some
      if (first === undefined) return []
      const { pid, command, wanted, evidence } = first
      const nodes = [...new Set(some.map(({ target, wanted: { name } }) => shownNode(target, name)))]
      const who =
        pid === process.pid ? 'this process' : `process ${pid}${command === null ? '' : ` (${command})`}`
      const shared = says('own') ? '' : ', which all devices of its driver share'
      const use: DeviceUse = {
        kind: 'open',
        device: wanted.device,
        what: `${who} has ${nodes.join(', ')} open${shared}${below(wanted.device)}`,
        evidence,
        remedy: SLEEPS,
        mustEnd: index === 0,
        user: { pid, command, node: first.target },
      }
      return [use]
    })
  })
}

/** A node under a name of its own is called by both. */
function shownNode(target: string, name: string): string {
  return target === 'vfio-device' || target.replace(/ \(deleted\)$/, '').endsWith(`/${name}`)
    ? target
    : `${target} (${name})`
}

/** Devices that go with this one. */
function dependants({ name: device, path, numVfs, mdevs, driver }: Subject): DeviceUse[] {
  // Without a driver there is nothing to lose.
  if (driver === null) return []
  const uses: DeviceUse[] = []
  if (numVfs > 0)
    uses.push({
      kind: 'functions',
      device,
      what: `${device} has ${numVfs} virtual function${numVfs === 1 ? '' : 's'}, which disappear with its driver`,
      evidence: join(path, 'sriov_numvfs'),
      remedy: `Remove them first: vfio sriov set ${device} 0`,
      mustEnd: true,
    })
  if (mdevs.length > 0)
    uses.push({
      kind: 'mediated',
      device,
      what: `${device} has mediated devices: ${mdevs.join(', ')}`,
      evidence: path,
      remedy: 'Remove them first: vfio mdev rm UUID',
      mustEnd: true,
    })
  return uses
}

/** The first PID namespace of a machine has this number (PROC_PID_INIT_INO). */
const FIRST_PID_NAMESPACE = 'pid:[4026531836]'

/** Processes that do not show at all. */
function unseenProcesses(mounts: () => Mounts, options: HostOptions): Unseen[] {
  const proc = procRoot(options)
  const pids = listNames(proc)
  const what = 'what other processes have open'
  if (pids === null) return [{ what, why: `there is no ${proc}` }]
  const unseen: Unseen[] = []
  const hide = pids.includes('1') ? undefined : /\bhidepid=(\w+)/.exec(mounts().procOptions)?.[1]
  if (hide !== undefined && /^(?:2|4|invisible|ptraceable)$/.test(hide))
    unseen.push({
      what,
      why: `${proc} is mounted with hidepid=${hide}: it hides the processes of other users`,
    })
  let namespace: string | null = null
  try {
    namespace = readlinkSync(join(proc, 'self', 'ns', 'pid'))
  } catch {
    // A kernel without PID namespaces, or a procfs of another process.
  }
  if (namespace !== null && namespace !== FIRST_PID_NAMESPACE)
    unseen.push({
      what: 'what processes outside this container have open',
      why: 'this process is in a PID namespace of its own',
    })
  return unseen
}

/** Who has a node of `subjects` open. */
function descriptorUsage(
  subjects: readonly Subject[],
  mounts: () => Mounts,
  options: HostOptions,
): DeviceUsage {
  const nodes = subjects.flatMap((subject) => nodesOf(subject, options))
  // What has no node cannot be opened.
  if (nodes.length === 0) return { uses: [], unseen: [] }
  const paths = subjects.flatMap(({ path, mdevs }) => [path, ...mdevs.map((uuid) => join(path, uuid))])
  const devices = new Map(paths.map((path) => [belowSysfs(path), ownDevice(path)]))
  const { opened, hidden, nameless } = openDescriptors(nodes, devices, mounts, options)
  const main = new Set(subjects.flatMap(({ isAsked, name }) => (isAsked ? [name] : [])))
  const uses = openUses(opened, (device) => (main.has(device) ? '' : ` (${device})`))
  const unseen: Unseen[] = []
  // A device without a driver is nobody's.
  if (subjects.every(({ driver }) => driver === null)) return { uses, unseen }
  if (hidden > 0)
    unseen.push({
      what: `what ${hidden} process${hidden === 1 ? ' has' : 'es have'} open`,
      why: 'this user may not see it',
    })
  if (nameless.length > 0 && subjects.some(({ driver }) => driver?.includes('vfio') === true))
    unseen.push({
      what: `which device of VFIO process ${nameless.join(', ')} has open`,
      why: 'this kernel does not report it (Linux 6.16 does)',
    })
  return { uses, unseen: [...unseen, ...unseenProcesses(mounts, options)] }
}

/**
 * Finds out who and what uses the devices in the directories `paths`, their virtual functions and their mediated devices, and
 * what could not be looked at. It reads, and opens disks for a moment; nothing is changed.
 * @throws TypeError if a path is no text, or an option wrong
 */
export function deviceUsage(paths: readonly string[], options: HostOptions = {}): DeviceUsage {
  checkHostOptions(options)
  for (const each of array(paths, 'paths')) string(each, 'a path')
  const subjects = subjectsAt(paths, options)
  const mounts = once(() => readMounts(options))
  const open = descriptorUsage(subjects, mounts, options)
  const disks = diskUsage(subjects, mounts, options)
  const uses = subjects.flatMap((subject) => {
    const names = new Set([subject.name, ...subject.groups.map(({ owner }) => owner)])
    const own = ({ device }: DeviceUse): boolean => names.has(device)
    return [
      ...dependants(subject),
      ...disks.uses.filter(own),
      ...networkUses(subject, options),
      ...screenUses(subject, options),
      ...open.uses.filter(own),
    ]
  })
  return { uses, unseen: [...open.unseen, ...disks.unseen] }
}
