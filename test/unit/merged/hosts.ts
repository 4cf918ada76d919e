// Hosts of every vendor, as trees: what their drivers show in sysfs and procfs. It must not use the code under test.

import { rmSync, symlinkSync } from 'node:fs'
import { type PciFixture, type SysfsTree } from '../host/fixture.js'

export type Host = (tree: SysfsTree) => void

/** Where the readers have to look in a tree. */
export const rootsOf = (tree: SysfsTree) => ({
  sysfsRoot: tree.root,
  devRoot: tree.path('dev'),
  procRoot: tree.path('proc'),
  pciIds: tree.path('pci.ids'),
  etcRoot: tree.path('etc'),
  usrRoot: tree.path('usr'),
})

export const PF = '0000:03:00.0'
/** Functions from the fourth on where there are many, as NVIDIA has them; the others come right behind. */
const vfName = (index: number, count = 1): string => {
  const number = index + (count > 7 ? 4 : 1)
  return `0000:03:0${number >> 3}.${number & 7}`
}
const MANY_TYPES = Array.from({ length: 20 }, (_each, index) => [1100 + index, `A40-${index}`] as const)
const GPU = '0x030000'

interface Gpu extends PciFixture {
  /** The host has DRM nodes of it. */
  readonly drm?: boolean
  readonly totalVfs?: number
  readonly vfs?: readonly PciFixture[]
}

function pf(tree: SysfsTree, gpu: Gpu): string {
  const { drm = false, totalVfs, vfs = [], files, ...rest } = gpu
  const sriov =
    totalVfs === undefined ? {} : { sriov_totalvfs: String(totalVfs), sriov_numvfs: String(vfs.length) }
  const path = tree.pci(PF, { class: GPU, ...rest, files: { ...sriov, ...files } })
  if (drm) for (const name of ['card0', 'renderD128']) tree.dir(`${path}/drm/${name}`)
  for (const [index, vf] of vfs.entries()) {
    const vfPath = tree.pci(vfName(index, vfs.length), { class: GPU, ...pick(rest), ...vf })
    tree.link(`${vfPath}/physfn`, path)
    tree.link(`${path}/virtfn${index}`, vfPath)
  }
  return path
}

const pick = ({ vendor = '0x1234', device = '0x11e8' }: PciFixture) => ({ vendor, device })

function kernel(tree: SysfsTree, release: string): void {
  tree.file('proc/sys/kernel/osrelease', release)
}

function mdevType(
  tree: SysfsTree,
  parent: string,
  id: string,
  files: Record<string, string>,
  uuids: string[] = [],
) {
  const type = `${parent}/mdev_supported_types/${id}`
  for (const [name, text] of Object.entries(files)) tree.file(`${type}/${name}`, text)
  tree.dir(`${type}/devices`)
  for (const uuid of uuids) tree.link(`${type}/devices/${uuid}`, `${parent}/${uuid}`)
}

function mdevParent(tree: SysfsTree, name: string, path: string): void {
  tree.link(`class/mdev_bus/${name}`, path)
}

export const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
const gvt = (low: number, high: number, fence: number, weight: number) =>
  `low_gm_size: ${low}MB\nhigh_gm_size: ${high}MB\nfence: ${fence}\nresolution: 1920x1200\nweight: ${weight}`
const NVIDIA = { vendor: '0x10de', device: '0x2235', driver: 'nvidia', drm: true }
const INTEL = { vendor: '0x8086', device: '0x56c0', drm: true }
const VGPU_TYPES = 'ID    : vGPU Name\n557   : NVIDIA A40-1B\n558   : NVIDIA A40-2B'

function gvtHost(tree: SysfsTree, generation: string): void {
  kernel(tree, '6.1.0-18-amd64')
  const path = pf(tree, { vendor: '0x8086', device: '0x3e92', driver: 'i915', drm: true })
  tree.file('module/i915/parameters/enable_gvt', 'Y')
  mdevType(
    tree,
    path,
    `i915-GVTg_${generation}_4`,
    {
      name: `GVTg_${generation}_4`,
      description: gvt(128, 512, 4, 4),
      available_instances: '1',
      device_api: 'vfio-pci',
    },
    [UUID],
  )
  mdevType(tree, path, `i915-GVTg_${generation}_8`, {
    description: gvt(64, 384, 4, 2),
    available_instances: '3',
    device_api: 'vfio-pci',
  })
  mdevParent(tree, PF, path)
}

export const HOSTS = {
  'intel-gvt-g-v4': (tree) => gvtHost(tree, 'V4'),
  'intel-gvt-g-v5': (tree) => gvtHost(tree, 'V5'),
  'intel-i915-sriov': (tree) => {
    kernel(tree, '5.15.49')
    pf(tree, { ...INTEL, driver: 'i915', totalVfs: 7, vfs: [{ driver: 'vfio-pci', vfioDev: 'vfio0' }] })
    tree.file('module/i915/parameters/enable_guc', '3')
    tree.file('module/i915/parameters/max_vfs', '7')
  },
  // Linux's own i915: the hardware has seven, the driver makes none, and what the user wrote is no parameter of it.
  'intel-i915-stock': (tree) => {
    kernel(tree, '6.8.12-11-pve')
    pf(tree, { ...INTEL, driver: 'i915', totalVfs: 7 })
    tree.file('module/i915/parameters/enable_guc', '3')
    tree.file('proc/cmdline', 'quiet intel_iommu=on i915.enable_guc=3 i915.max_vfs=7')
  },
  'intel-xe-sriov': (tree) => {
    kernel(tree, '6.19.2')
    const path = pf(tree, { ...INTEL, driver: 'xe', totalVfs: 24, vfs: [{ driver: 'xe-vfio-pci' }, {}] })
    for (const of of ['pf', 'vf1', 'vf2']) {
      const profile = `${path}/sriov_admin/${of}/profile`
      for (const name of ['exec_quantum_ms', 'preempt_timeout_us']) tree.file(`${profile}/${name}`, '0')
      tree.file(`${profile}/sched_priority`, of === 'pf' ? '[low] normal high' : '[low] normal')
      if (of !== 'pf') {
        tree.file(`${profile}/vram_quota`, '0')
        tree.file(`${path}/sriov_admin/${of}/stop`, '')
      }
    }
    for (const name of ['exec_quantum_ms', 'preempt_timeout_us', 'sched_priority'])
      tree.file(`${path}/sriov_admin/.bulk_profile/${name}`, '')
    tree.file('module/xe/parameters/max_vfs', '24')
  },
  'nvidia-mdev': (tree) => {
    kernel(tree, '5.10.0-28-amd64')
    const path = pf(tree, NVIDIA)
    tree.file('module/nvidia/version', '460.32.01')
    // Of the community's patcher; a word without a module's name is no parameter of any.
    tree.file('module/nvidia/parameters/cudahost', '1')
    tree.file('proc/cmdline', 'root=/dev/sda1 cudahost=0 nvidia.vgpukvm=0')
    mdevType(tree, path, 'nvidia-256', {
      name: 'GRID RTX6000-1Q',
      description: 'num_heads=4, frl_config=60, framebuffer=1024M, max_resolution=5120x2880, max_instance=24',
      available_instances: '24',
      device_api: 'vfio-pci',
    })
    mdevParent(tree, PF, path)
  },
  'nvidia-vendor-vfio-before': (tree) => {
    kernel(tree, '6.8.0')
    pf(tree, { ...NVIDIA, totalVfs: 32 })
    tree.file(
      'proc/driver/nvidia/version',
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.10  Thu Feb 22 01:44:30 UTC 2024',
    )
  },
  // The vGPU host driver, before its tool has made the functions.
  'nvidia-vgpu-host-before': (tree) => {
    kernel(tree, '6.8.0')
    pf(tree, { ...NVIDIA, totalVfs: 32 })
    tree.file('module/nvidia/version', '550.54.10')
    tree.file('module/nvidia_vgpu_vfio/initstate', 'live')
  },
  // Two of its functions were taken by vfio-pci, as scripts for whole devices do.
  'nvidia-vfs-on-vfio-pci': (tree) => {
    kernel(tree, '6.8.0')
    const vfs = [1, 2].map((index) => ({ driver: 'vfio-pci', vfioDev: `vfio${index}` }))
    pf(tree, { ...NVIDIA, totalVfs: 32, vfs })
    tree.file('module/nvidia/version', '550.54.10')
    tree.file('module/nvidia_vgpu_vfio/initstate', 'live')
  },
  nouveau: (tree) => {
    kernel(tree, '6.12.0')
    pf(tree, { ...NVIDIA, driver: 'nouveau', totalVfs: 32 })
  },
  'nvidia-vendor-vfio': (tree) => {
    kernel(tree, '6.8.0')
    const nvidia = (current: string, creatable: string) => ({
      driver: 'nvidia',
      files: { 'nvidia/current_vgpu_type': current, 'nvidia/creatable_vgpu_types': creatable },
    })
    const vfs = [
      nvidia('558', ''),
      nvidia('0', VGPU_TYPES),
      nvidia('0', VGPU_TYPES.split('\n').slice(0, 2).join('\n')),
    ]
    pf(tree, { ...NVIDIA, totalVfs: 32, vfs })
    tree.file('module/nvidia/version', '550.54.10')
  },
  // Every function has been given away or has no room left for any type.
  'nvidia-vendor-vfio-full': (tree) => {
    kernel(tree, '6.8.0')
    const files = { 'nvidia/current_vgpu_type': '0', 'nvidia/creatable_vgpu_types': 'ID    : vGPU Name' }
    pf(tree, { ...NVIDIA, totalVfs: 2, vfs: [1, 2].map(() => ({ driver: 'nvidia', files })) })
    tree.file('module/nvidia/version', '550.54.10')
  },
  'nvidia-no-vgpu': (tree) => {
    kernel(tree, '6.1.0-18-amd64')
    pf(tree, NVIDIA)
    tree.file('module/nvidia/version', '535.183.01')
  },
  'amd-amdgpu': (tree) => {
    kernel(tree, '6.8.0')
    pf(tree, {
      vendor: '0x1002',
      device: '0x74a1',
      driver: 'amdgpu',
      drm: true,
      totalVfs: 8,
      files: { current_compute_partition: 'SPX', current_memory_partition: 'NPS1' },
    })
  },
  'amd-gim': (tree) => {
    kernel(tree, '5.15.0')
    pf(tree, {
      vendor: '0x1002',
      device: '0x74a1',
      driver: 'gim',
      totalVfs: 8,
      vfs: [{ driver: 'vfio-pci' }],
    })
    tree.file('module/gim/parameters/vf_num', '1')
  },
  'nic-sriov': (tree) => {
    kernel(tree, '6.1.0-18-amd64')
    const vfs = [{ class: '0x020000', driver: 'vfio-pci', vfioDev: 'vfio0' }]
    pf(tree, { vendor: '0x8086', device: '0x10c9', class: '0x020000', driver: 'igb', totalVfs: 7, vfs })
  },
  // Functions were made while their drivers were kept from probing, and one is meant for VFIO but not bound.
  'nic-sriov-half': (tree) => {
    kernel(tree, '6.1.0-18-amd64')
    const vfs = [
      { class: '0x020000' },
      { class: '0x020000', files: { driver_override: 'vfio-pci' } },
      { class: '0x020000', driver: 'igbvf' },
    ]
    const files = { sriov_drivers_autoprobe: '0' }
    pf(tree, {
      vendor: '0x8086',
      device: '0x10c9',
      class: '0x020000',
      driver: 'igb',
      totalVfs: 7,
      vfs,
      files,
    })
  },
  // The module of a GPU's mediated devices is loaded, but no type is left after its firmware failed.
  'mdev-no-types': (tree) => {
    kernel(tree, '6.1.0-18-amd64')
    const path = pf(tree, { vendor: '0x8086', device: '0x3e92', driver: 'i915', drm: true })
    tree.dir(`${path}/mdev_supported_types`)
    mdevParent(tree, PF, path)
  },
  'mdev-mtty': (tree) => {
    kernel(tree, '7.2.12')
    const path = 'devices/virtual/mtty/mtty'
    mdevType(tree, path, 'mtty-1', {
      name: 'Single port serial',
      available_instances: '24',
      device_api: 'vfio-pci',
    })
    mdevParent(tree, 'mtty', path)
  },
  'gpu-unbound': (tree) => pf(tree, { vendor: '0x10de', device: '0x2235' }),
  'gpu-on-vfio': (tree) =>
    pf(tree, { ...INTEL, drm: false, driver: 'vfio-pci', vfioDev: 'vfio0', totalVfs: 7 }),
} satisfies Record<string, Host>

/** GPUs with all that they may have, for what is read by people; too large to be damaged file by file. */
export const LARGE_HOSTS = {
  // A whole GPU: 30 functions free, one taken, one without driver; twenty types.
  'nvidia-vgpu-many': (tree) => {
    kernel(tree, '6.8.0')
    const vf = (index: number): PciFixture => {
      if (index === 31) return {}
      const taken = index === 30
      const types = taken ? [] : MANY_TYPES.map(([id, name]) => `${id} : ${name}`)
      const files = {
        'nvidia/current_vgpu_type': taken ? '1100' : '0',
        'nvidia/creatable_vgpu_types': ['ID : vGPU Name', ...types].join('\n'),
      }
      return { driver: 'nvidia', files }
    }
    pf(tree, { ...NVIDIA, totalVfs: 32, vfs: Array.from({ length: 32 }, (_each, index) => vf(index)) })
    tree.file('module/nvidia_vgpu_vfio/initstate', 'live')
  },
  'nvidia-mdev-many': (tree) => {
    kernel(tree, '5.15.0')
    const vfs = Array.from({ length: 32 }, () => ({ driver: 'nvidia' }))
    pf(tree, { ...NVIDIA, totalVfs: 32, vfs })
    for (const index of vfs.keys()) {
      const own = vfName(index, vfs.length)
      const path = `devices/pci0000:00/${own}`
      for (const [id, name] of MANY_TYPES)
        mdevType(tree, path, `nvidia-${id}`, { name, available_instances: '1', device_api: 'vfio-pci' })
      mdevParent(tree, own, path)
    }
  },
} satisfies Record<string, Host>

const BINARY = Buffer.from([0, 255, 254, 1, 2, 10, 0]).toString('latin1')

/** Trees that no kernel makes. */
export const HOSTILE = {
  empty: () => undefined,
  'missing-files': (tree) => {
    HOSTS['intel-gvt-g-v4'](tree)
    for (const name of ['class', 'mdev_supported_types/i915-GVTg_V4_4/available_instances'])
      rmSync(tree.path('devices/pci0000:00', PF, name))
  },
  'empty-files': (tree) => {
    HOSTS['nic-sriov'](tree)
    tree.file(`devices/pci0000:00/${PF}/sriov_totalvfs`, '')
  },
  'binary-files': (tree) => {
    HOSTS['nvidia-vendor-vfio'](tree)
    tree.file(`devices/pci0000:00/${vfName(1)}/nvidia/creatable_vgpu_types`, BINARY)
    tree.file(`devices/pci0000:00/${PF}/resource`, BINARY)
  },
  'huge-file': (tree) => {
    HOSTS['intel-gvt-g-v5'](tree)
    tree.file(
      `devices/pci0000:00/${PF}/mdev_supported_types/i915-GVTg_V5_4/description`,
      'x'.repeat(5_000_000),
    )
  },
  'link-loop': (tree) => {
    HOSTS['nvidia-no-vgpu'](tree)
    symlinkSync('0000:04:00.0', tree.path('bus/pci/devices/0000:04:00.0'))
    symlinkSync('loop', tree.path('class-loop'))
  },
} satisfies Record<string, Host>
