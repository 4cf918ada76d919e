// What is answered of hosts as people have them: the ways to share a device, how many guests, whether they migrate, what stands in
// the way, and which issues concern it, and which do not.

import test from 'ava'
import { mergedReport, type SharedDevice } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { rootsOf } from './hosts.js'
import { SITUATIONS } from './situations.js'

interface Way {
  readonly id: string
  readonly state: 'used' | 'ready' | 'possible'
  readonly migration: 'yes' | 'no' | 'cannot-tell'
  /** Ids of the rows of capacities. */
  readonly documented?: readonly string[]
  readonly counted?: { readonly used: number; readonly free: number }
  /** One for each thing in the way. */
  readonly inTheWay?: readonly RegExp[]
}

interface Expected {
  readonly platform?: string
  readonly ways: readonly Way[]
  /** Ids of issues that apply, among others. */
  readonly applies?: readonly string[]
  readonly mayApply?: readonly string[]
  readonly fixed?: readonly string[]
  /** Those that must not be listed at all. */
  readonly notListed?: readonly string[]
}

function check(name: keyof typeof SITUATIONS, expected: Expected | null): void {
  checked.add(name)
  // A Windows file name cannot hold the colons of a PCI address.
  const declare = process.platform === 'win32' ? test.skip : test
  declare(name, (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    SITUATIONS[name](tree)
    const { devices, problems } = mergedReport(rootsOf(tree))
    t.deepEqual(problems, [])
    if (expected === null) return t.deepEqual(devices, [])
    const [device] = devices as readonly [SharedDevice]
    t.is(device.platform, expected.platform ?? null)
    t.deepEqual(
      device.frameworks.map(({ id, state, migration }) => ({ id, state, migration: migration.answer })),
      expected.ways.map(({ id, state, migration }) => ({ id, state, migration })),
    )
    for (const [index, { documented, counted, inTheWay = [] }] of expected.ways.entries()) {
      const { capacity, inTheWay: told } = device.frameworks[index]!
      if (documented !== undefined)
        t.deepEqual(
          capacity.documented.map(({ id }) => id),
          documented,
        )
      t.deepEqual(capacity.counted, counted ?? null)
      t.is(told.length, inTheWay.length, told.join('\n'))
      for (const [at, pattern] of inTheWay.entries()) t.regex(told[at]!, pattern)
    }
    const answers = Object.fromEntries(device.knownIssues.map(({ id, answer }) => [id, answer]))
    const all = (ids: readonly string[] = [], answer?: string): void => {
      for (const id of ids) t.is(answers[id], answer as never, id)
    }
    all(expected.applies, 'applies')
    all(expected.mayApply, 'cannot-tell')
    all(expected.fixed, 'fixed')
    all(expected.notListed)
    return undefined
  })
}

const checked = new Set<string>()
const GVT = { id: 'intel-gvtg', state: 'possible', migration: 'no', inTheWay: [/offers no types/] } as const

check('gvt-g, aperture of 256 MiB', {
  platform: 'Kaby Lake',
  ways: [{ ...GVT, documented: ['capacity-intel-gvtg-code', 'capacity-intel-gvtg-aperture-256'] }],
  notListed: [
    'intel-gvtg-generations-ended',
    'intel-gvtg-no-guc-submission',
    'intel-i915-sriov-never-upstream',
  ],
})
check('gvt-g, aperture of 512 MiB', {
  platform: 'Kaby Lake',
  ways: [{ ...GVT, documented: ['capacity-intel-gvtg-code', 'capacity-intel-gvtg-aperture-512'] }],
})
check('gvt-g asked for on Tiger Lake', {
  platform: 'Tiger Lake',
  ways: [
    {
      id: 'intel-i915-dkms',
      state: 'possible',
      migration: 'no',
      documented: ['capacity-intel-i915-sriov'],
      inTheWay: [/stock one/, /enable_guc=3/],
    },
    {
      id: 'intel-xe-forced',
      state: 'possible',
      migration: 'no',
      inTheWay: [/force_probe/, /from Linux 7\.0/],
    },
  ],
  applies: ['intel-gvtg-generations-ended', 'intel-i915-sriov-never-upstream'],
  notListed: ['intel-xe-needs-force-probe', 'intel-gvtg-off-in-rhel'],
})
check('i915-sriov-dkms on Alder Lake', {
  platform: 'Alder Lake-S',
  ways: [
    { id: 'intel-i915-dkms', state: 'used', migration: 'no', counted: { used: 1, free: 6 } },
    { id: 'intel-xe-forced', state: 'possible', migration: 'no', inTheWay: [/force_probe/, /7\.0/] },
  ],
  applies: ['intel-pf-passthrough-crashes-vfs'],
  mayApply: ['intel-vf-windows-code-43'],
  notListed: [
    'intel-i915-sriov-never-upstream',
    'intel-i915-dkms-needs-parameters',
    'intel-vfs-on-host-driver',
  ],
})
check('i915-sriov-dkms without its parameters', {
  platform: 'Alder Lake-S',
  ways: [
    {
      id: 'intel-i915-dkms',
      state: 'possible',
      migration: 'no',
      inTheWay: [/max_vfs above 0/, /enable_guc=3/],
    },
    { id: 'intel-xe-forced', state: 'possible', migration: 'no', inTheWay: [/force_probe/, /7\.0/] },
  ],
  applies: ['intel-i915-dkms-needs-parameters'],
  notListed: ['intel-i915-sriov-never-upstream'],
})
check('i915 of the kernel on Alder Lake, 7.0', {
  platform: 'Alder Lake-N',
  ways: [
    { id: 'intel-i915-dkms', state: 'possible', migration: 'no', inTheWay: [/stock one/, /enable_guc/] },
    {
      id: 'intel-xe-forced',
      state: 'possible',
      migration: 'no',
      documented: ['capacity-intel-xe-integrated'],
      inTheWay: [/force_probe/, /no SR-IOV capability/],
    },
  ],
  applies: ['intel-xe-needs-force-probe', 'intel-i915-sriov-never-upstream'],
})

const XE = { id: 'intel-xe', documented: ['capacity-intel-b60-b50'] } as const
check('xe on Battlemage, 6.16', {
  platform: 'Battlemage',
  ways: [
    {
      ...XE,
      state: 'possible',
      migration: 'no',
      inTheWay: [/from Linux 6\.17/, /max_vfs above 0/, /sriov_totalvfs is 0/],
    },
  ],
  applies: ['intel-xe-sriov-first-kernels', 'intel-xe-max-vfs-zero-before-6-17'],
  notListed: [
    'intel-xe-sriov-admin-missing',
    'intel-xe-platforms-without-sriov',
    'intel-xe-migration-old-guc',
  ],
})
check('xe on Battlemage, 6.17', {
  platform: 'Battlemage',
  ways: [{ ...XE, state: 'ready', migration: 'no', counted: { used: 0, free: 12 } }],
  applies: [
    'intel-xe-sriov-admin-missing',
    'pci-vf-rebar-out-of-bounds',
    'intel-xe-vram-split-not-reproducible',
  ],
  fixed: ['intel-xe-sriov-first-kernels'],
  notListed: ['intel-xe-needs-force-probe', 'intel-xe-cve-2026-31490'],
})
check('xe on Battlemage, 7.0, with functions', {
  platform: 'Battlemage',
  ways: [{ ...XE, state: 'used', migration: 'no', counted: { used: 1, free: 11 } }],
  applies: ['intel-xe-migration-wrong-registers', 'intel-xe-cve-2026-68384'],
  fixed: ['intel-xe-cve-2026-31490', 'intel-xe-sriov-admin-missing'],
})
check('xe on Battlemage, 7.2, with functions', {
  platform: 'Battlemage',
  ways: [{ ...XE, state: 'used', migration: 'yes', counted: { used: 1, free: 11 } }],
  applies: ['intel-xe-vfio-no-dirty-tracking'],
  fixed: ['intel-xe-migration-wrong-registers', 'intel-xe-cve-2026-68384'],
})
check('xe on an Arc B580 without SR-IOV', {
  platform: 'Battlemage',
  ways: [
    {
      id: 'intel-xe',
      state: 'possible',
      migration: 'no',
      documented: [],
      inTheWay: [/no SR-IOV capability/],
    },
  ],
  applies: ['intel-b580-no-sriov-capability'],
})
check('xe on Alder Lake-N, forced, 7.0', {
  platform: 'Alder Lake-N',
  ways: [
    { id: 'intel-xe-forced', state: 'ready', migration: 'no', counted: { used: 0, free: 7 } },
    { id: 'intel-i915-dkms', state: 'possible', migration: 'no', inTheWay: [/i915 must have/] },
  ],
  applies: ['intel-xe-migration-needs-memirq'],
  notListed: ['intel-xe-needs-force-probe', 'intel-xe-platforms-without-sriov'],
})
check('xe on Arc A', {
  platform: 'Arc A (DG2)',
  ways: [],
  applies: ['intel-xe-platforms-without-sriov'],
  notListed: ['intel-xe-sriov-first-kernels'],
})
check('xe on Panther Lake, a Debian kernel', {
  platform: 'Panther Lake',
  ways: [{ id: 'intel-xe', state: 'ready', migration: 'yes', documented: [], counted: { used: 0, free: 7 } }],
  applies: ['debian-kernel-lacks-xe-vfio'],
})

check('a GeForce with the open modules', {
  ways: [],
  // A desktop has no vGPU host, hence none of what goes wrong with one.
  notListed: [
    'nvidia-mdev-daemons-crash',
    'nvidia-vgpu-host-bulletin-5821',
    'nvidia-open-modules-no-vgpu-host',
    'nvidia-unlock-open-modules',
    'nvidia-vgpu-branch-ended',
  ],
})
const VENDOR_VFIO = { id: 'nvidia-vendor-vfio', migration: 'cannot-tell' } as const
check('an A40 with the ordinary driver', {
  ways: [
    { ...VENDOR_VFIO, state: 'possible', inTheWay: [/not NVIDIA's vGPU host driver/, /sriov-manage -e/] },
  ],
  notListed: ['nvidia-open-modules-no-vgpu-host', 'nvidia-vgpu-host-bulletin-5821'],
})
check('an A40 with the open modules', {
  ways: [{ ...VENDOR_VFIO, state: 'possible', inTheWay: [/Virtual GPU Manager/, /sriov-manage -e/] }],
  applies: ['nvidia-open-modules-no-vgpu-host'],
})
check('an A40 as vGPU host, no functions yet', {
  ways: [
    {
      ...VENDOR_VFIO,
      state: 'possible',
      documented: [
        'capacity-nvidia-vf-table',
        'capacity-nvidia-vgpu-per-gpu-new',
        'capacity-nvidia-vgpu-per-vm',
      ],
      inTheWay: [/sriov-manage -e/],
    },
  ],
  applies: ['nvidia-vgpu-sriov-manage-each-boot', 'nvidia-vgpu-host-bulletin-5821'],
  fixed: ['nvidia-vgpu-host-bulletin-5703'],
})
check('an RTX PRO 6000 as vGPU host, types of MIG instances', {
  ways: [
    {
      ...VENDOR_VFIO,
      state: 'used',
      counted: { used: 1, free: 1 },
      documented: [
        'capacity-nvidia-vf-table',
        'capacity-nvidia-vgpu-per-gpu-new',
        'capacity-nvidia-vgpu-per-vm',
        'capacity-nvidia-rtx-pro-6000-dc-1-2q',
      ],
    },
  ],
  applies: ['nvidia-vgpu-vf-not-vfio-pci', 'nvidia-vgpu-mdev-gone'],
  fixed: ['nvidia-vgpu-host-bulletin-5821'],
  notListed: ['nvidia-vgpu-branch-ended', 'nvidia-second-mdev-group-error'],
})
check('a Turing card as vGPU host, by mediated devices', {
  ways: [{ id: 'nvidia-mdev', state: 'ready', migration: 'no', counted: { used: 0, free: 16 } }],
  applies: ['nvidia-vgpu-branch-ended', 'nvidia-vgpu-host-bulletin-5551'],
  fixed: ['nvidia-vgpu-host-bulletin-5520', 'nvidia-second-mdev-group-error'],
  notListed: ['nvidia-vgpu-mdev-gone'],
})
check('a merged driver of the community', { ways: [], applies: ['nvidia-merged-community-driver'] })
check('an H100 on vfio-pci', {
  ways: [],
  applies: ['vfio-huge-fault-alignment'],
  notListed: ['nvidia-hopper-no-bus-reset', 'nvidia-h100-no-types-listed'],
})
// It shares nothing: no display, no functions.
check('an NVSwitch', null)
check('nova-core', { ways: [], applies: ['nvidia-nova-core-no-vgpu-manager'] })

check('a consumer Radeon', {
  ways: [],
  applies: ['amd-gim-cards', 'amdgpu-no-signalling-hooks'],
  notListed: ['amdgpu-cannot-enable-vfs', 'amd-mi200-sriov-rocm-5-3'],
})
check('an MI210 on amdgpu', {
  ways: [
    {
      id: 'amd-gim',
      state: 'possible',
      migration: 'no',
      documented: ['capacity-amd-mi210', 'capacity-amd-gim-vf-num'],
      inTheWay: [/in place of amdgpu/],
    },
  ],
  applies: ['amdgpu-cannot-enable-vfs'],
  notListed: ['amd-gim-cards', 'amd-gim-excludes-amdgpu'],
})
check('an MI300X with GIM, eight functions', {
  ways: [
    {
      id: 'amd-gim',
      state: 'used',
      migration: 'no',
      counted: { used: 1, free: 0 },
      documented: ['capacity-amd-mi300x', 'capacity-amd-gim-vf-num'],
    },
  ],
  applies: ['amd-gim-multi-vf-needs-firmware', 'amd-gim-excludes-amdgpu'],
  notListed: ['amdgpu-no-signalling-hooks'],
})

check('a ConnectX with a function on its variant driver', {
  ways: [{ id: 'sriov', state: 'used', migration: 'yes', counted: { used: 1, free: 7 } }],
  mayApply: ['vfio-all-devices-p2p'],
  notListed: ['vfio-migration-cloud-hypervisor'],
})
check('a QAT with functions', {
  ways: [{ id: 'sriov', state: 'ready', migration: 'yes', counted: { used: 0, free: 16 } }],
  notListed: ['intel-sriov-undocumented'],
})
check('a GPU without a driver of the host', {
  platform: 'Battlemage',
  ways: [{ ...XE, state: 'possible', migration: 'yes', inTheWay: [/no driver has the device/] }],
})
check('a host without IOMMU', {
  platform: 'Battlemage',
  ways: [{ ...XE, state: 'ready', migration: 'yes', counted: { used: 0, free: 12 }, inTheWay: [/No IOMMU/] }],
})
check('a container without /proc/driver and kmsg', {
  ways: [{ ...VENDOR_VFIO, state: 'possible', inTheWay: [/vGPU host driver/, /sriov-manage/] }],
  // Which of the two kinds of modules it is cannot be read there.
  mayApply: ['nvidia-open-modules-no-vgpu-host'],
})
check('a GPU of WSL2', null)
check('a Grace host, arm64', { ways: [], applies: ['nvidia-hopper-no-bus-reset'] })

const posixTest = process.platform === 'win32' ? test.skip : test

posixTest('a vGPU of a GPU instance names it, and one that has none does not', (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  SITUATIONS['an RTX PRO 6000 as vGPU host, types of MIG instances'](tree)
  const [device] = mergedReport(rootsOf(tree)).devices
  t.deepEqual(
    device!.functions.map(({ gpuInstance }) => gpuInstance),
    [3, null],
  )
})

posixTest("xe's profile of a function has the quota where the kernel has it", (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  SITUATIONS['xe on Battlemage, 7.2, with functions'](tree)
  const profile = `devices/pci0000:00/0000:03:00.0/sriov_admin/vf1/profile`
  const read = () => mergedReport(rootsOf(tree)).devices[0]!.functions[0]!.profile
  t.is(read(), null)
  tree.file(`${profile}/exec_quantum_ms`, '20')
  tree.file(`${profile}/sched_priority`, 'low [normal] high')
  t.deepEqual(read(), { exec_quantum_ms: '20', sched_priority: 'normal' })
  tree.file(`${profile}/vram_quota`, '8589934592')
  t.is(read()!.vram_quota, '8589934592')
})

test('every situation is checked', (t) => {
  t.deepEqual([...checked].sort(), Object.keys(SITUATIONS).sort())
})
