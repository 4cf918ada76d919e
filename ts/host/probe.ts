// The whole host at once: kernel, IOMMU, modules, limits, device nodes, PCI devices and groups. What cannot be read is
// listed as such and never guessed. It must not open a device or change anything, and it judges nothing.

import { accessSync, constants, statSync } from 'node:fs'
import { join } from 'node:path'
import { Attempts, type ReadProblem } from './attempts.js'
import {
  examineIommuGroup,
  type GroupViability,
  groupViability,
  type IommuGroup,
  NO_IOMMU_GROUP,
} from './groups.js'
import { type Machine, readMachine } from './machine.js'
import { type KernelModule, readModule } from './modules.js'
import { PciIds, type PciNames } from './pci-ids.js'
import { examinePciDevices, type PciDevice } from './pci.js'
import {
  checkHostOptions,
  devRoot,
  type HostOptions,
  listNames,
  pciIdsPaths,
  procRoot,
  readText,
  sysfsRoot,
} from './sysfs.js'

/** A device node, and what this process may do with it. */
export interface DeviceNode {
  readonly path: string
  readonly exists: boolean
  readonly readable: boolean
  readonly writable: boolean
  /** Permission bits; null if it does not exist. */
  readonly mode: number | null
  readonly uid: number | null
  readonly gid: number | null
}

/** A resource limit of this process; `unlimited`, or a number in the limit's own unit. */
export interface Limit {
  readonly soft: bigint | 'unlimited'
  readonly hard: bigint | 'unlimited'
}

/** A PCI device with its names. */
export interface ProbedPciDevice extends PciDevice {
  readonly names: PciNames
}

/** A group, whether it can be used, and its node. */
export interface ProbedGroup extends IommuGroup {
  readonly viability: GroupViability
  readonly node: DeviceNode
  /** The nodes of its members' own (`/dev/vfio/devices/vfio0`), where the kernel has such (Linux 6.6). */
  readonly deviceNodes: readonly DeviceNode[]
}

/** Everything that can be told of a host without opening a device. */
export interface HostReport {
  /** `uname -r`; null where procfs does not say. */
  readonly kernelRelease: string | null
  readonly commandLine: string | null
  readonly iommu: {
    /** Names in `/sys/class/iommu`, such as `dmar0`, `ivhd0`, `smmu3.0x...`. */
    readonly units: readonly string[]
    /** By the names of the units; null if there is none, or none of a known name. */
    readonly type: 'intel' | 'amd' | 'arm-smmu' | 'virtio' | null
  }
  /** What remedies depend on. */
  readonly machine: Machine
  /** Those of VFIO, iommufd and KVM that the kernel shows, by name. */
  readonly modules: Readonly<Record<string, KernelModule>>
  /** Whether the driver vfio-pci is registered. */
  readonly vfioPci: boolean
  readonly nodes: {
    /** `/dev/vfio/vfio`, the container. */
    readonly container: DeviceNode
    /** `/dev/iommu`. */
    readonly iommufd: DeviceNode
    /** `/dev/kvm`. */
    readonly kvm: DeviceNode
  }
  readonly limits: {
    /** Bytes of memory that may be pinned; null if it could not be read. */
    readonly memlock: Limit | null
    /** Descriptors. */
    readonly nofile: Limit | null
  }
  /** Whether the process has CAP_IPC_LOCK, which lifts the limit on pinned memory; null if it could not be read. */
  readonly mayLockMemory: boolean | null
  readonly devices: readonly ProbedPciDevice[]
  readonly groups: readonly ProbedGroup[]
  readonly problems: readonly ReadProblem[]
}

const MODULES = [
  'vfio',
  'vfio_pci',
  'vfio_iommu_type1',
  'iommufd',
  'mdev',
  'kvm',
  'kvm_intel',
  'kvm_amd',
  'kvmgt',
]
const UNITS: readonly [RegExp, NonNullable<HostReport['iommu']['type']>][] = [
  [/^dmar\d/, 'intel'],
  [/^ivhd\d/, 'amd'],
  [/^smmu/, 'arm-smmu'],
  [/^virtio\d/, 'virtio'],
]
const CAP_IPC_LOCK = 14n

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}

function node(...parts: string[]): DeviceNode {
  const path = join(...parts)
  const stat = statSync(path, { throwIfNoEntry: false })
  return {
    path,
    exists: stat !== undefined,
    readable: stat !== undefined && may(path, constants.R_OK),
    writable: stat !== undefined && may(path, constants.W_OK),
    mode: stat === undefined ? null : stat.mode & 0o7777,
    uid: stat?.uid ?? null,
    gid: stat?.gid ?? null,
  }
}

function limit(limits: string | null, name: string): Limit | null {
  const match = new RegExp(`^${name} +(unlimited|\\d+) +(unlimited|\\d+)`, 'm').exec(limits ?? '')
  if (match === null) return null
  const value = (text = ''): Limit['soft'] => (text === 'unlimited' ? text : BigInt(text))
  return { soft: value(match[1]), hard: value(match[2]) }
}

function lockCapability(status: string | null): boolean | null {
  const match = /^CapEff:\s+([0-9a-f]{1,16})$/m.exec(status ?? '')
  return match === null ? null : ((BigInt(`0x${match[1] ?? '0'}`) >> CAP_IPC_LOCK) & 1n) === 1n
}

/** Every PCI device that can be read, with its names; the others are problems. */
function probeDevices(attempts: Attempts, options: HostOptions): ProbedPciDevice[] {
  const devices = examinePciDevices(options, attempts)
  if (devices.length === 0) return []
  const database = PciIds.read(pciIdsPaths(options))
  return devices.map((device) => ({ ...device, names: database.names(device.vendor, device.device) }))
}

function probeGroups(attempts: Attempts, options: HostOptions): ProbedGroup[] {
  const names = attempts.run(
    'iommu_groups',
    () => listNames(sysfsRoot(options), 'kernel', 'iommu_groups'),
    null,
  )
  const numbers = (names ?? []).filter((name) => /^\d{1,9}$/.test(name)).map(Number)
  return numbers
    .sort((a, b) => a - b)
    .flatMap((id) => {
      const subject = `IOMMU group ${id}`
      const read = (): ProbedGroup | null => {
        const group = examineIommuGroup(id, options, attempts.run)
        if (group === null) return null
        // A group that no IOMMU stands behind has another name of node.
        const name = group.name === NO_IOMMU_GROUP ? `noiommu-${id}` : String(id)
        return {
          ...group,
          viability: groupViability(group),
          node: node(devRoot(options), 'vfio', name),
          deviceNodes: group.members.flatMap(({ vfioDev }) =>
            typeof vfioDev?.cdev === 'string' ? [node(vfioDev.cdev)] : [],
          ),
        }
      }
      const group = attempts.run(subject, read, null)
      return group === null ? [] : [group]
    })
}

/**
 * Reads the host. It throws for wrong options only: what is there and cannot be read is in `problems`.
 * @throws TypeError if an option is not a string
 */
export function probeHost(options: HostOptions = {}): HostReport {
  checkHostOptions(options)
  const sysfs = sysfsRoot(options)
  const proc = procRoot(options)
  const dev = devRoot(options)
  const attempts = new Attempts()
  const text = (...parts: string[]): string | null =>
    attempts.run(join(proc, ...parts), () => readText(proc, ...parts), null)
  const limits = text('self', 'limits')
  const units = (attempts.run('class/iommu', () => listNames(sysfs, 'class', 'iommu'), null) ?? []).sort()
  const modules = MODULES.flatMap((name) => {
    const module = attempts.run(`module ${name}`, () => readModule(name, options), null)
    return module === null ? [] : [[name, module] as const]
  })
  const nodeOf = (...parts: string[]): DeviceNode =>
    attempts.run(join(dev, ...parts), () => node(dev, ...parts), {
      path: join(dev, ...parts),
      exists: false,
      readable: false,
      writable: false,
      mode: null,
      uid: null,
      gid: null,
    })
  return {
    kernelRelease: text('sys', 'kernel', 'osrelease'),
    commandLine: text('cmdline'),
    iommu: {
      units,
      type: UNITS.find(([pattern]) => units.some((unit) => pattern.test(unit)))?.[1] ?? null,
    },
    machine: readMachine(options),
    modules: Object.fromEntries(modules),
    vfioPci:
      attempts.run('vfio-pci', () => listNames(sysfs, 'bus', 'pci', 'drivers', 'vfio-pci'), null) !== null,
    nodes: { container: nodeOf('vfio', 'vfio'), iommufd: nodeOf('iommu'), kvm: nodeOf('kvm') },
    limits: { memlock: limit(limits, 'Max locked memory'), nofile: limit(limits, 'Max open files') },
    mayLockMemory: lockCapability(text('self', 'status')),
    devices: probeDevices(attempts, options),
    groups: probeGroups(attempts, options),
    problems: attempts.problems,
  }
}
