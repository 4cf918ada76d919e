// What kind of machine this is, as far as remedies depend on it: processor, whoever runs it if it is virtual, container,
// boot loader, distribution, what the firmware tells of an IOMMU, what the kernel was asked for. It reads a dozen small files
// when it is asked, and must not know any remedy.

import { join } from 'node:path'
import {
  checkHostOptions,
  devRoot,
  etcRoot,
  type HostOptions,
  listNames,
  procRoot,
  readStart,
  sysfsRoot,
} from './sysfs.js'

/** Where a virtual machine runs; `unknown` where only the processor tells that it is one. */
export type Hypervisor =
  | 'wsl'
  | 'xen-dom0'
  | 'xen'
  | 'ec2'
  | 'azure'
  | 'google'
  | 'openstack'
  | 'hyper-v'
  | 'vmware'
  | 'virtualbox'
  | 'micro-vm'
  | 'qemu'
  | 'unknown'

export interface Machine {
  readonly architecture: 'x86' | 'arm' | 'power' | 's390' | 'riscv' | null
  /** Of an x86 processor, Hygon's among AMD's. */
  readonly processor: 'intel' | 'amd' | null
  /** Null for a real machine. */
  readonly hypervisor: Hypervisor | null
  /** Whether this process is in a container. */
  readonly container: boolean
  readonly bootLoader: 'grub' | 'systemd-boot' | 'raspberry-pi' | 'ostree' | 'proxmox' | null
  /** `ID` of os-release, then those of `ID_LIKE`: `ubuntu`, `debian`. */
  readonly distribution: readonly string[]
  /** `DMAR`, `IVRS`, `IORT`, `VIOT`: the tables of the firmware that describe an IOMMU; null where it shows none of its tables. */
  readonly firmwareTables: readonly string[] | null
  /** What the kernel's command line makes of the IOMMU, the last of its words where they contradict each other. */
  readonly asked: { readonly state: 'on' | 'off'; readonly word: string } | null
  /** Whether any device is in an IOMMU group. */
  readonly groups: boolean
  /** Modules that the kernel has, of those that remedies name. */
  readonly modules: { readonly vfio: boolean; readonly iommufd: boolean; readonly kvm: boolean }
  /** What VFIO has registered: the container's node, groups, devices with nodes of their own. */
  readonly vfio: { readonly container: boolean; readonly groups: boolean; readonly cdevs: boolean }
}

/** The first part of a file, which is enough of any of these: `/proc/cpuinfo` of a large host has megabytes. */
const START = 32768
const IOMMU_TABLES = ['DMAR', 'IVRS', 'IORT', 'VIOT']
const LOADER_INFO = 'LoaderInfo-4a67b082-0a4c-41cf-b6c7-442b29bb8c4f'
const AZURE_TAG = '7783-7084-3265-9085-8269-3286-77'
const NIL_UUID = '00000000-0000-0000-0000-000000000000'

/** The words of the kernel's command line; what follows `--` is for init. */
export function commandLineWords(text: string | null): string[] {
  const words = [...(text ?? '').matchAll(/(?:[^\s"]|"[^"]*")+/g)].map(([word]) => word.replaceAll('"', ''))
  const end = words.indexOf('--')
  return end < 0 ? words : words.slice(0, end)
}

/**
 * As the kernel reads it: each `intel_iommu=` overrides those before it; nothing takes back `iommu=off` or `amd_iommu=off`, and
 * there is no `amd_iommu=on`.
 */
function askedFor(words: readonly string[]): Machine['asked'] {
  let intel: Machine['asked'] = null
  let forGood: Machine['asked'] = null
  for (const word of words) {
    const [name = '', value = ''] = word.split('=', 2)
    for (const each of value.split(',')) {
      if (name === 'intel_iommu' && (each === 'on' || each === 'off')) intel = { state: each, word }
      if ((name === 'iommu' || name === 'amd_iommu') && each === 'off') forGood ??= { state: 'off', word }
    }
  }
  return forGood ?? intel
}

function processorOf(cpuinfo: string): Pick<Machine, 'architecture' | 'processor'> {
  const maker = /^vendor_id\s*:\s*(.+)$/m.exec(cpuinfo)?.[1]?.trim() ?? ''
  if (maker.startsWith('IBM/S390')) return { architecture: 's390', processor: null }
  if (/^CPU implementer\s*:/m.test(cpuinfo)) return { architecture: 'arm', processor: null }
  if (/^cpu\s*:\s*POWER/m.test(cpuinfo)) return { architecture: 'power', processor: null }
  if (/^isa\s*:\s*rv/m.test(cpuinfo)) return { architecture: 'riscv', processor: null }
  if (maker === '') return { architecture: null, processor: null }
  const amd = maker === 'AuthenticAMD' || maker === 'HygonGenuine'
  return { architecture: 'x86', processor: amd ? 'amd' : maker === 'GenuineIntel' ? 'intel' : null }
}

/** What the firmware calls a virtual machine, by its maker and its product. */
const BY_FIRMWARE: readonly [maker: RegExp, product: RegExp, Hypervisor][] = [
  [/^Google/, /^Google Compute Engine/, 'google'],
  [/^OpenStack|^RDO|^Red Hat/, /OpenStack/, 'openstack'],
  [/^Microsoft Corporation/, /^Virtual Machine/, 'hyper-v'],
  [/^VMware/, /^/, 'vmware'],
  [/^innotek|^Oracle/, /^VirtualBox/, 'virtualbox'],
  [/^QEMU|^Red Hat/, /^/, 'qemu'],
  [/^/, /^KVM|^Standard PC/, 'qemu'],
]

function hypervisorOf(
  read: (...path: string[]) => string,
  cpuinfo: string,
  release: string,
  words: readonly string[],
): Hypervisor | null {
  if (/-microsoft/i.test(release) || /-microsoft|wsl2/i.test(read('proc', 'version'))) return 'wsl'
  const [maker, product] = ['sys_vendor', 'product_name'].map((name) =>
    read('sys', 'class', 'dmi', 'id', name),
  )
  const ec2 = maker === 'Amazon EC2' || read('sys', 'hypervisor', 'uuid').startsWith('ec2')
  // An instance such as c5n.metal is the machine itself.
  if (ec2) return /\bmetal\b/.test(product ?? '') ? null : 'ec2'
  if (read('sys', 'hypervisor', 'type') === 'xen') {
    const dom0 =
      read('sys', 'hypervisor', 'uuid') === NIL_UUID ||
      read('proc', 'xen', 'capabilities').includes('control_d')
    return dom0 ? 'xen-dom0' : 'xen'
  }
  if (read('sys', 'class', 'dmi', 'id', 'chassis_asset_tag') === AZURE_TAG) return 'azure'
  const known = BY_FIRMWARE.find(([by, what]) => by.test(maker ?? '') && what.test(product ?? ''))?.[2]
  if (known !== undefined) return known
  const flagged = /^flags\s*:.*\bhypervisor\b/m.test(cpuinfo)
  const tree = read('proc', 'device-tree', 'compatible')
  if (tree.includes('linux,dummy-virt')) return 'qemu'
  // Firecracker and the like have no firmware, and tell the kernel where their devices are, or that there is no PCI.
  const bare = words.some((word) => word.startsWith('virtio_mmio.device=') || word === 'pci=off')
  if (maker === '' && (bare || read('sys', 'firmware', 'acpi', 'tables', 'DSDT').includes('FIRECK')))
    return 'micro-vm'
  return flagged || read('proc', 'device-tree', 'hypervisor', 'compatible') !== '' ? 'unknown' : null
}

/** `ID` and `ID_LIKE` of os-release. */
function distributionOf(text: string): string[] {
  const value = (name: string): string[] =>
    (new RegExp(`^${name}=["']?([^"'\\n]*)`, 'm').exec(text)?.[1] ?? '').toLowerCase().split(/\s+/)
  return [...value('ID'), ...value('ID_LIKE')].filter((each) => each !== '')
}

function bootLoaderOf(
  read: (...path: string[]) => string,
  words: readonly string[],
  has: (...path: string[]) => boolean,
): Machine['bootLoader'] {
  if (/raspberry pi/i.test(read('proc', 'device-tree', 'model'))) return 'raspberry-pi'
  if (words.some((word) => word.startsWith('ostree='))) return 'ostree'
  if (has('etc', 'kernel', 'proxmox-boot-uuids')) return 'proxmox'
  // Four bytes of attributes, then UTF-16.
  const loader = read('sys', 'firmware', 'efi', 'efivars', LOADER_INFO).replaceAll('\0', '')
  if (loader.includes('systemd-boot')) return 'systemd-boot'
  if (loader.includes('GRUB')) return 'grub'
  if (has('etc', 'default', 'grub') && words.some((word) => word.startsWith('BOOT_IMAGE='))) return 'grub'
  if (has('etc', 'kernel', 'cmdline')) return 'systemd-boot'
  return has('etc', 'default', 'grub') ? 'grub' : null
}

/**
 * systemd, podman and LXC tell the first process; Docker and Kubernetes show in its control groups (version 1), or by the files
 * of `/etc` that they mount one by one.
 */
function inContainer(read: (...path: string[]) => string): boolean {
  return (
    /(?:^|\0)container=./.test(read('proc', '1', 'environ')) ||
    /docker|kubepods|containerd|libpod|\/lxc/.test(read('proc', '1', 'cgroup')) ||
    / \/etc\/(?:hostname|hosts|resolv\.conf) /.test(read('proc', '1', 'mountinfo'))
  )
}

/** Reads what this machine is. Nothing that cannot be read stops it. */
export function readMachine(options: HostOptions = {}): Machine {
  checkHostOptions(options)
  const roots: Readonly<Record<string, string>> = {
    sys: sysfsRoot(options),
    proc: procRoot(options),
    etc: etcRoot(options),
  }
  const at = ([root = '', ...rest]: readonly string[]): string => join(roots[root] ?? root, ...rest)
  const read = (...path: string[]): string => readStart(START, at(path))?.trim() ?? ''
  const has = (...path: string[]): boolean => readStart(0, at(path)) !== null
  const names = (...path: string[]): string[] | null => {
    try {
      return listNames(at(path))
    } catch {
      return null
    }
  }
  const cpuinfo = read('proc', 'cpuinfo')
  const words = commandLineWords(read('proc', 'cmdline'))
  const release = read('proc', 'sys', 'kernel', 'osrelease')
  const tables = names('sys', 'firmware', 'acpi', 'tables')
  const classes = names('sys', 'class') ?? []
  const filled = (...path: string[]): boolean => (names(...path) ?? []).length > 0
  return {
    ...processorOf(cpuinfo),
    hypervisor: hypervisorOf(read, cpuinfo, release, words),
    container: inContainer(read),
    bootLoader: bootLoaderOf(read, words, has),
    distribution: distributionOf(read('etc', 'os-release')),
    firmwareTables: tables === null ? null : IOMMU_TABLES.filter((name) => tables.includes(name)),
    asked: askedFor(words),
    groups: filled('sys', 'kernel', 'iommu_groups'),
    modules: {
      vfio: names('sys', 'module', 'vfio') !== null,
      iommufd: names('sys', 'module', 'iommufd') !== null,
      kvm: names('sys', 'module', 'kvm') !== null,
    },
    vfio: {
      container: names('sys', 'class', 'misc', 'vfio') !== null,
      groups: classes.includes('vfio'),
      cdevs: filled('sys', 'class', 'vfio-dev') && filled(devRoot(options), 'vfio', 'devices'),
    },
  }
}

/** Reads it when it is first asked for, once: for a command, or for an error that may never be made. */
export function lazyMachine(options: HostOptions = {}): () => Machine {
  let machine: Machine | undefined
  return () => (machine ??= readMachine(options))
}
