// Hosts as people have them, for what is answered of each: platforms of one driver on several kernels, drivers of the same GPU,
// devices that are no GPU. It must not use the code under test.

import type { PciFixture, SysfsTree } from '../host/fixture.js'
import { PF } from './hosts.js'

interface Card extends PciFixture {
  readonly kernel: string
  /** DRM nodes of the host. */
  readonly nodes?: readonly string[]
  readonly totalVfs?: number
  readonly vfs?: readonly PciFixture[]
  /** Parameters by module; a module without any is loaded. */
  readonly modules?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** Whether no IOMMU has it. */
  readonly bare?: boolean
  /** Further files of the host. */
  readonly host?: Readonly<Record<string, string>>
}

/** Lines of `resource`: BAR 2 with a size in MiB. */
const aperture = (mebibytes: number): string => {
  const start = 0x80000000
  const empty = `0x${'0'.repeat(16)} 0x${'0'.repeat(16)} 0x${'0'.repeat(16)}`
  const hex = (value: number): string => `0x${value.toString(16).padStart(16, '0')}`
  return [empty, empty, `${hex(start)} ${hex(start + mebibytes * 2 ** 20 - 1)} ${hex(0x14220c)}`].join('\n')
}

function card(tree: SysfsTree, given: Card): string {
  const {
    kernel,
    nodes = [],
    totalVfs,
    vfs = [],
    modules = {},
    bare = false,
    host = {},
    files,
    ...rest
  } = given
  const numbers =
    totalVfs === undefined ? {} : { sriov_totalvfs: `${totalVfs}`, sriov_numvfs: `${vfs.length}` }
  const group = bare ? {} : { group: 1 }
  const path = tree.pci(PF, { class: '0x030000', ...rest, ...group, files: { ...numbers, ...files } })
  for (const node of nodes) tree.dir(`${path}/drm/${node}`)
  for (const [index, vf] of vfs.entries()) {
    const vfPath = tree.pci(`0000:03:00.${index + 1}`, {
      class: rest.class ?? '0x030000',
      group: index + 2,
      ...vf,
    })
    tree.link(`${vfPath}/physfn`, path)
    tree.link(`${path}/virtfn${index}`, vfPath)
  }
  for (const [name, parameters] of Object.entries(modules)) {
    tree.dir(`module/${name}`)
    for (const [parameter, value] of Object.entries(parameters))
      tree.file(`module/${name}/parameters/${parameter}`, value)
  }
  tree.file('proc/sys/kernel/osrelease', kernel)
  for (const [file, text] of Object.entries(host)) tree.file(file, text)
  return path
}

const DRM = ['card0', 'renderD128']
const INTEL = { vendor: '0x8086', nodes: DRM }
const NVIDIA = { vendor: '0x10de', driver: 'nvidia', nodes: DRM }
const A40 = { ...NVIDIA, device: '0x2235', kernel: '6.12.0', totalVfs: 32 }
const I915 = { enable_gvt: 'N', enable_guc: '-1' }
const XE = { max_vfs: '4294967295', force_execlist: 'N' }
const OPEN = 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build'
const CLOSED = 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23'

const gvt = (mebibytes: number): Card => ({
  ...INTEL,
  device: '0x5912',
  driver: 'i915',
  kernel: '6.12.43+deb13-amd64',
  modules: { i915: { ...I915, enable_gvt: 'Y', enable_guc: '0' }, kvmgt: {} },
  files: { resource: aperture(mebibytes) },
})

const battlemage = (kernel: string, more: Partial<Card> = {}): Card => ({
  ...INTEL,
  device: '0xe211',
  driver: 'xe',
  kernel,
  totalVfs: 12,
  modules: { xe: XE },
  ...more,
})

/** By their names: a device, the kernel, what is loaded. */
export const SITUATIONS = {
  'gvt-g, aperture of 256 MiB': (tree) => card(tree, gvt(256)),
  'gvt-g, aperture of 512 MiB': (tree) => card(tree, gvt(512)),
  'gvt-g asked for on Tiger Lake': (tree) =>
    card(tree, {
      ...INTEL,
      device: '0x9a49',
      driver: 'i915',
      kernel: '6.8.12-11-pve',
      totalVfs: 7,
      modules: { i915: { ...I915, enable_gvt: 'Y' } },
    }),
  'i915-sriov-dkms on Alder Lake': (tree) =>
    card(tree, {
      ...INTEL,
      device: '0x4680',
      driver: 'i915',
      kernel: '6.17.4-1-pve',
      totalVfs: 7,
      vfs: [{ driver: 'vfio-pci', vfioDev: 'vfio0' }],
      modules: { i915: { ...I915, enable_guc: '3', max_vfs: '7' }, intel_sriov_compat: {} },
    }),
  'i915-sriov-dkms without its parameters': (tree) =>
    card(tree, {
      ...INTEL,
      device: '0x4680',
      driver: 'i915',
      kernel: '6.17.4-1-pve',
      totalVfs: 7,
      modules: { i915: { ...I915, max_vfs: '0' }, intel_sriov_compat: {} },
    }),
  'i915 of the kernel on Alder Lake, 7.0': (tree) =>
    card(tree, { ...INTEL, device: '0x46d1', driver: 'i915', kernel: '7.0.14', modules: { i915: I915 } }),
  'xe on Battlemage, 6.16': (tree) =>
    card(tree, battlemage('6.16.12', { totalVfs: 0, modules: { xe: { ...XE, max_vfs: '0' } } })),
  'xe on Battlemage, 6.17': (tree) => card(tree, battlemage('6.17.13')),
  'xe on Battlemage, 7.0, with functions': (tree) =>
    card(tree, battlemage('7.0.14', { vfs: [{ driver: 'xe-vfio-pci', vfioDev: 'vfio0' }] })),
  'xe on Battlemage, 7.2, with functions': (tree) =>
    card(tree, battlemage('7.2.13', { vfs: [{ driver: 'xe-vfio-pci', vfioDev: 'vfio0' }] })),
  'xe on an Arc B580 without SR-IOV': (tree) =>
    card(tree, { ...INTEL, device: '0xe20b', driver: 'xe', kernel: '6.17.13', modules: { xe: XE } }),
  'xe on Alder Lake-N, forced, 7.0': (tree) =>
    card(tree, {
      ...INTEL,
      device: '0x46d1',
      driver: 'xe',
      kernel: '7.0.14',
      totalVfs: 7,
      modules: { xe: { ...XE, force_probe: '46d1' } },
    }),
  'xe on Arc A': (tree) =>
    card(tree, {
      ...INTEL,
      device: '0x56a0',
      driver: 'xe',
      kernel: '7.2.13',
      totalVfs: 0,
      modules: { xe: XE },
    }),
  'xe on Panther Lake, a Debian kernel': (tree) =>
    card(tree, { ...battlemage('7.2.13+deb14-amd64'), device: '0xb080', totalVfs: 7 }),
  'a GeForce with the open modules': (tree) =>
    card(tree, {
      ...NVIDIA,
      device: '0x2684',
      kernel: '6.17.0-41-generic',
      modules: { nvidia: {} },
      host: { 'proc/driver/nvidia/version': OPEN, 'module/nvidia/version': '580.95.05' },
    }),
  'an A40 with the ordinary driver': (tree) =>
    card(tree, {
      ...A40,
      modules: { nvidia: {} },
      host: { 'proc/driver/nvidia/version': CLOSED, 'module/nvidia/version': '580.95.05' },
    }),
  'an A40 with the open modules': (tree) =>
    card(tree, {
      ...A40,
      modules: { nvidia: {} },
      host: { 'proc/driver/nvidia/version': OPEN, 'module/nvidia/version': '580.95.05' },
    }),
  'an A40 as vGPU host, no functions yet': (tree) =>
    card(tree, {
      ...A40,
      modules: { nvidia: {}, nvidia_vgpu_vfio: {} },
      host: { 'proc/driver/nvidia/version': CLOSED, 'module/nvidia/version': '580.95.05' },
    }),
  'an RTX PRO 6000 as vGPU host, types of MIG instances': (tree) =>
    card(tree, {
      ...NVIDIA,
      device: '0x2bb5',
      kernel: '6.12.0',
      totalVfs: 48,
      vfs: [
        {
          driver: 'nvidia',
          files: {
            'nvidia/current_vgpu_type': '1424',
            'nvidia/creatable_vgpu_types': 'ID : vGPU Name',
            'nvidia/gpu_instance_id': '3',
          },
        },
        {
          driver: 'nvidia',
          files: {
            'nvidia/current_vgpu_type': '0',
            'nvidia/creatable_vgpu_types': 'ID : vGPU Name\n1424 : NVIDIA RTX Pro 6000 DC-1-2Q',
          },
        },
      ],
      modules: { nvidia: {}, nvidia_vgpu_vfio: {} },
      host: { 'module/nvidia/version': '595.71.03' },
    }),
  'a Turing card as vGPU host, by mediated devices': (tree) => {
    const path = card(tree, {
      ...NVIDIA,
      device: '0x1eb8',
      kernel: '5.15.0-119-generic',
      modules: { nvidia: {}, nvidia_vgpu_vfio: {} },
      host: { 'module/nvidia/version': '535.161.05' },
    })
    const type = `${path}/mdev_supported_types/nvidia-222`
    for (const [file, text] of Object.entries({
      name: 'GRID T4-1B',
      available_instances: '16',
      device_api: 'vfio-pci',
    }))
      tree.file(`${type}/${file}`, text)
    tree.dir(`${type}/devices`)
    tree.link(`class/mdev_bus/${PF}`, path)
  },
  'a merged driver of the community': (tree) =>
    card(tree, {
      ...NVIDIA,
      device: '0x1e04',
      kernel: '5.15.0',
      modules: { nvidia: { cudahost: '1', vgpukvm: '1', vup_merged: '1' } },
      host: { 'module/nvidia/version': '535.161.05' },
    }),
  'an H100 on vfio-pci': (tree) =>
    card(tree, {
      vendor: '0x10de',
      device: '0x2330',
      class: '0x030200',
      driver: 'vfio-pci',
      vfioDev: 'vfio0',
      kernel: '6.12.0',
    }),
  'an NVSwitch': (tree) =>
    card(tree, {
      vendor: '0x10de',
      device: '0x22a3',
      class: '0x068000',
      driver: 'nvidia-nvswitch',
      kernel: '6.12.0',
    }),
  'nova-core': (tree) => card(tree, { ...NVIDIA, driver: 'nova-core', device: '0x2b85', kernel: '7.3.4' }),
  'a consumer Radeon': (tree) =>
    card(tree, { vendor: '0x1002', device: '0x744c', driver: 'amdgpu', nodes: DRM, kernel: '7.0.14' }),
  'an MI210 on amdgpu': (tree) =>
    card(tree, {
      vendor: '0x1002',
      device: '0x740f',
      class: '0x120000',
      driver: 'amdgpu',
      nodes: DRM,
      kernel: '6.8.0',
      totalVfs: 1,
    }),
  'an MI300X with GIM, eight functions': (tree) =>
    card(tree, {
      vendor: '0x1002',
      device: '0x74a1',
      class: '0x120000',
      driver: 'gim',
      kernel: '6.8.0-94-generic',
      totalVfs: 8,
      vfs: [{ driver: 'vfio-pci', vfioDev: 'vfio0' }],
      modules: { gim: { vf_num: '1' } },
      host: { 'dev/kmsg': '6,0,0,-;Linux version 6.8.0\n3,9,1,-;gim: exceeds the vf limit\n' },
    }),
  'a ConnectX with a function on its variant driver': (tree) =>
    card(tree, {
      vendor: '0x15b3',
      device: '0x101d',
      class: '0x020000',
      driver: 'mlx5_core',
      kernel: '6.17.0-41-generic',
      totalVfs: 8,
      vfs: [{ class: '0x020000', driver: 'mlx5_vfio_pci', vfioDev: 'vfio0' }],
    }),
  'a QAT with functions': (tree) =>
    card(tree, {
      vendor: '0x8086',
      device: '0x4940',
      class: '0x0b4000',
      driver: '4xxx',
      kernel: '6.14.0-15-generic',
      totalVfs: 16,
    }),
  'a GPU without a driver of the host': (tree) =>
    card(tree, { vendor: '0x8086', device: '0xe211', kernel: '7.2.13', totalVfs: 12 }),
  'a host without IOMMU': (tree) => card(tree, battlemage('7.2.13', { bare: true })),
  'a container without /proc/driver and kmsg': (tree) =>
    card(tree, {
      ...A40,
      modules: { nvidia: {} },
      host: { 'proc/1/environ': 'container=docker' },
    }),
  'a GPU of WSL2': (tree) => {
    tree.file('proc/sys/kernel/osrelease', '6.6.87.2-microsoft-standard-WSL2')
    tree.dir('dev/dxg')
  },
  'a Grace host, arm64': (tree) =>
    card(tree, {
      vendor: '0x10de',
      device: '0x2342',
      class: '0x030200',
      driver: 'nvgrace-gpu-vfio-pci',
      vfioDev: 'vfio0',
      kernel: '6.12.0-64k',
      host: { 'proc/cpuinfo': 'processor\t: 0\nCPU implementer\t: 0x41' },
    }),
} satisfies Record<string, (tree: SysfsTree) => unknown>
