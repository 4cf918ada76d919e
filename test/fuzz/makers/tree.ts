// The host that changes are made to: a tree with a simulated kernel, in which every kind of change finds a device. Nothing of
// this machine is written to.
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'

import { rootsIn } from '../../unit/merged/change-roots.js'
import { type Faults, SimulatedKernel } from '../../unit/merged/kernel.js'
import type { Random } from '../random.js'

export const TREE_DEVICES = ['0000:00:14.0', '0000:00:10.0', '0000:03:00.0', '0000:04:00.0'] as const
const [NVME, EDU, NIC, GPU] = TREE_DEVICES
export const TREE_UUIDS = [
  '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
  '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002',
] as const

/** Files by their paths below the root. */
const FILES: Readonly<Record<string, string>> = {
  'proc/sys/kernel/random/boot_id': 'a2b0b4a4-6a0c-4c4e-9d9c-3f6f3a1f0001',
  'proc/sys/kernel/osrelease': '6.1.0-18-amd64',
  'proc/mounts': '',
  'proc/swaps': '',
  'proc/self/mountinfo': '',
  '.kernel/vgpu-types': 'ID    : vGPU Name\n557   : NVIDIA A40-1B',
  'devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/name': 'Single port serial',
  'devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/available_instances': '2',
  'devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/device_api': 'vfio-pci',
  'devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create': '',
}

const FOLDERS = [
  ...['etc', 'var/lib', 'dev', 'bus/mdev/devices'],
  'devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/devices',
]

interface Pci {
  address: string
  vendor: string
  device: string
  class: string
  driver?: string
  group: number
  totalVfs?: number
}

const PCI: readonly Pci[] = [
  { address: NVME, vendor: '0x1b36', device: '0x0010', class: '0x010802', driver: 'nvme', group: 6 },
  { address: EDU, vendor: '0x1234', device: '0x11e8', class: '0x00ff00', group: 2 },
  {
    ...{ address: NIC, vendor: '0x8086', device: '0x10c9', class: '0x020000', driver: 'igb', group: 20 },
    totalVfs: 7,
  },
  {
    ...{ address: GPU, vendor: '0x10de', device: '0x2235', class: '0x030200', driver: 'nvidia', group: 21 },
    totalVfs: 4,
  },
]

let root: string | undefined

function file(path: string, text: string): void {
  mkdirSync(dirname(join(root!, path)), { recursive: true })
  writeFileSync(join(root!, path), `${text}\n`)
}

function link(path: string, target: string): void {
  const from = join(root!, path)
  mkdirSync(dirname(from), { recursive: true })
  mkdirSync(join(root!, target), { recursive: true })
  symlinkSync(relative(dirname(from), join(root!, target)), from)
}

function pci({ address, driver, group, totalVfs, ...ids }: Pci): void {
  const path = `devices/pci0000:00/${address}`
  const files = {
    ...ids,
    ...{ subsystem_vendor: '0x1af4', subsystem_device: '0x1100', revision: '0x10' },
    resource: Array(7).fill('0x0000000000000000 0x0000000000000000 0x0000000000000000').join('\n'),
    driver_override: '(null)',
    numa_node: '-1',
    iommu_group_number: String(group),
    modalias: `pci:v0000${ids.vendor.slice(2)}d0000${ids.device.slice(2)}sv0sd0bc00sc00i00`,
    ...(totalVfs === undefined
      ? {}
      : { sriov_totalvfs: String(totalVfs), sriov_numvfs: '0', sriov_drivers_autoprobe: '1' }),
  }
  for (const [name, text] of Object.entries(files)) file(`${path}/${name}`, text)
  link(`bus/pci/devices/${address}`, path)
  link(`${path}/subsystem`, 'bus/pci')
  link(`${path}/iommu_group`, `kernel/iommu_groups/${group}`)
  link(`kernel/iommu_groups/${group}/devices/${address}`, path)
  if (driver !== undefined) link(`${path}/driver`, `bus/pci/drivers/${driver}`)
}

function plant(): string {
  root ??= realpathSync(mkdtempSync(join(tmpdir(), 'fuzz-host-')))
  SimulatedKernel.drivers(root, {
    nvme: ['1b36:0010'],
    igb: [],
    igbvf: ['8086:10c9'],
    nvidia: ['10de:2235'],
  })
  for (const path of FOLDERS) mkdirSync(join(root, path), { recursive: true })
  for (const [path, text] of Object.entries(FILES)) file(path, text)
  for (const device of PCI) pci(device)
  link('class/mdev_bus/mtty', 'devices/virtual/mtty/mtty')
  return root
}

const MOST_JOURNALS = 12

function journals(): number {
  try {
    return readdirSync(rootsIn(root!).stateRoot).length
  } catch {
    return 0
  }
}

/** Begins anew when there is much to take back: every change reads all journals. */
export function tendTree(): void {
  if (root !== undefined && journals() <= MOST_JOURNALS) return
  if (root !== undefined) for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true })
  plant()
}

export function fellTree(): void {
  if (root !== undefined) rmSync(root, { recursive: true, force: true })
  root = undefined
}

const FAULTS: readonly Faults[] = [
  {},
  {},
  {},
  { refuse: { bind: 'EIO' } },
  { refuse: { drivers_probe: 'EINVAL' } },
  { refuse: { unbind: 'EBUSY' } },
  { deaf: ['sriov_numvfs'] },
  { refuse: { create: 'ENOSPC' } },
]

/** Where everything is in the tree, and its kernel. */
export function treeOptions(random: Random): Record<string, unknown> {
  const folder = root ?? plant()
  return { ...rootsIn(folder), io: new SimulatedKernel(folder, random.of(FAULTS)) }
}

/** Options of a change that lead into the tree, whatever else they say; what is no object stays, to be refused. */
export function rooted(options: unknown, random: Random): unknown {
  if (options !== undefined && (typeof options !== 'object' || options === null)) return options
  const own = Object.getOwnPropertyDescriptors(options ?? {})
  const roots = Object.entries(treeOptions(random)).map(([key, value]) => [
    key,
    { value, writable: true, enumerable: true, configurable: true },
  ])
  return Object.defineProperties({}, { ...own, ...(Object.fromEntries(roots) as PropertyDescriptorMap) })
}
