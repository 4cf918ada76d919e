// The merged-driver report of every vendor's host, field by field where it matters.

import { isDeepStrictEqual } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { mergedReport, type SharedDevice } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { type Host, HOSTS, LARGE_HOSTS, PF, rootsOf, UUID } from './hosts.js'

type Body = (t: ExecutionContext, device: SharedDevice) => void

/** The fixtures whose fields are asserted below. */
const asserted: string[] = []

function hostTest(name: keyof typeof HOSTS, body: Body): void {
  asserted.push(name)
  // A Windows file name cannot hold the colons of a PCI address.
  const declare = process.platform === 'win32' ? test.skip : test
  declare(`${name} is reported as it is`, (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    HOSTS[name](tree)
    const { devices, problems } = mergedReport(rootsOf(tree))
    t.deepEqual(problems, [])
    t.is(devices.length, 1)
    body(t, devices[0]!)
  })
}

const issue = (device: SharedDevice, id: string) => device.knownIssues.find((each) => each.id === id)?.answer
const hooks = (device: SharedDevice) =>
  Object.fromEntries(device.hooks.map(({ hook, answer }) => [hook, answer]))

for (const generation of ['V4', 'V5'] as const) {
  hostTest(generation === 'V4' ? 'intel-gvt-g-v4' : 'intel-gvt-g-v5', (t, device) => {
    t.is(device.framework, 'mdev')
    t.is(device.merged.state, 'merged')
    t.like(device.mdevTypes[0], {
      id: `i915-GVTg_${generation}_4`,
      parent: PF,
      name: `GVTg_${generation}_4`,
      available: 1,
      deviceApi: 'vfio-pci',
      devices: [UUID],
    })
    t.regex(device.mdevTypes[0]!.description!, /^high_gm_size: 512MB$/m)
    t.like(device.mdevTypes[1], { name: null, available: 3, devices: [] })
    t.like(
      device.parameters.find(({ name }) => name === 'enable_gvt'),
      { module: 'i915', value: 'Y' },
    )
    t.is(issue(device, 'intel-modified-hypervisor'), 'applies')
    t.is(issue(device, 'intel-sriov-undocumented'), 'applies')
    t.deepEqual(hooks(device), { irqfd: 'cannot-tell', ioeventfd: 'cannot-tell', level: 'cannot-tell' })
  })
}

hostTest('intel-i915-sriov', (t, device) => {
  t.is(device.framework, 'sriov')
  t.is(device.merged.state, 'merged')
  t.deepEqual(device.vfs, { total: 7, active: 1, free: 6 })
  t.like(device.functions[0], { address: '0000:03:00.1', driver: 'vfio-pci', onVfio: true })
  t.is(issue(device, 'intel-modified-hypervisor'), 'fixed')
  t.is(issue(device, 'intel-sriov-undocumented'), 'applies')
  t.deepEqual(hooks(device), { irqfd: 'yes', ioeventfd: 'yes', level: 'no' })
  t.deepEqual(
    device.parameters.map(({ name, value }) => [name, value]),
    [
      ['enable_gvt', null],
      ['enable_guc', '3'],
      ['max_vfs', '7'],
    ],
  )
})

hostTest('intel-i915-stock', (t, device) => {
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: null, vfMaking: { answer: 'no' } })
  t.regex(device.blockers.join(), /no parameter max_vfs.*upstream it is in xe/)
  t.like(
    device.parameters.find(({ name }) => name === 'max_vfs'),
    { value: null, asked: '7', inForce: false, module: null },
  )
  t.regex(
    device.parameters.find(({ name }) => name === 'max_vfs')!.read,
    /the command line has i915\.max_vfs=7, but the module i915 has no such parameter: unknown parameter ignored/,
  )
  t.like(
    device.parameters.find(({ name }) => name === 'enable_guc'),
    { value: '3', asked: '3', inForce: true },
  )
})

hostTest('intel-xe-sriov', (t, device) => {
  t.like(device, { framework: 'sriov', merged: { state: 'merged' }, driver: 'xe' })
  t.deepEqual(device.vfs, { total: 24, active: 2, free: 22 })
  t.deepEqual(device.hostNodes, { cards: ['card0'], connectors: [], renders: ['renderD128'], accels: [] })
  t.is(issue(device, 'intel-sriov-undocumented'), 'fixed')
  t.regex(device.notes.join(), /sriov_admin/)
})

hostTest('nvidia-mdev', (t, device) => {
  t.like(device, { framework: 'mdev', merged: { state: 'possible' }, driverVersion: '460.32.01' })
  t.is(issue(device, 'nvidia-laptop-power-management'), 'applies')
  t.is(issue(device, 'nvidia-vmalloc-collisions'), 'applies')
  t.is(issue(device, 'nvidia-mdev-daemons-crash'), 'applies')
  t.is(issue(device, 'nvidia-second-mdev-group-error'), 'applies')
  t.is(issue(device, 'nvidia-usb-hub-passthrough'), 'cannot-tell')
  t.like(device.parameters[0], { name: 'cudahost', value: '1', asked: null, inForce: true })
  t.is(device.parameters[0]!.sideEffects, 'Windows guests may fail.')
  t.like(device.parameters[1], { name: 'vgpukvm', value: null, asked: '0', inForce: false })
  t.regex(device.parameters[1]!.read, /has nvidia\.vgpukvm=0, but .*unknown parameter ignored/)
})

hostTest('nvidia-vendor-vfio-before', (t, device) => {
  // The hardware has 32; the driver has no sriov_configure, and is not the one for vGPU.
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: null, driverVersion: '550.54.10' })
  t.like(device.vfMaking, { answer: 'no', tool: null })
  t.regex(device.blockers.join(), /writing sriov_numvfs fails with ENOENT/)
  t.regex(device.blockers.join(), /not the vGPU host driver/)
  // It has no mediated devices, which is what the issue is about.
  t.is(issue(device, 'nvidia-second-mdev-group-error'), undefined)
})

hostTest('nvidia-vgpu-host-before', (t, device) => {
  t.like(device, { framework: 'none', merged: { state: 'possible' }, vfs: null })
  t.is(device.vfMaking?.tool, `/usr/lib/nvidia/sriov-manage -e ${PF}`)
  t.regex(device.merged.why, /sriov-manage -e 0000:03:00\.0/)
  t.regex(device.notes.join(), /only once virtual functions exist/)
  t.notRegex(device.blockers.join(), /not the vGPU host driver/)
})

hostTest('nvidia-vfs-on-vfio-pci', (t, device) => {
  // Neither a vGPU nor the GPU: guests have nothing, whatever VFIO's driver says.
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: { total: 32, active: 2, free: 0 } })
  t.regex(device.blockers.join(), /0000:03:00\.1, 0000:03:00\.2: .*vfio unbind gives it back/)
  t.deepEqual(hooks(device), { irqfd: 'no', ioeventfd: 'no', level: 'no' })
})

hostTest('nouveau', (t, device) => {
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: null, vfMaking: { answer: 'no' } })
  t.regex(device.blockers.join(), /nouveau cannot share/)
})

hostTest('nvidia-vendor-vfio', (t, device) => {
  t.like(device, { framework: 'vendor-vfio', merged: { state: 'merged' } })
  t.is(device.functions.length, 3)
  t.like(device.functions[0], { currentVgpuType: 558, creatableVgpuTypes: [] })
  t.like(device.functions[1], { currentVgpuType: 0, driver: 'nvidia', onVfio: false })
  t.deepEqual(device.functions[1]!.creatableVgpuTypes, [
    { id: 557, name: 'NVIDIA A40-1B' },
    { id: 558, name: 'NVIDIA A40-2B' },
  ])
  t.deepEqual(device.functions[2]!.creatableVgpuTypes, [{ id: 557, name: 'NVIDIA A40-1B' }])
})

hostTest('nvidia-vendor-vfio-full', (t, device) => {
  t.like(device, { framework: 'vendor-vfio', driverVersion: '550.54.10', mdevTypes: [] })
  // Both functions are there, but the GPU has no room for a vGPU in either.
  t.deepEqual(device.vfs, { total: 2, active: 2, free: 0 })
  t.deepEqual(
    device.functions.map(({ address, currentVgpuType, creatableVgpuTypes, onVfio }) => ({
      address,
      currentVgpuType,
      creatableVgpuTypes,
      onVfio,
    })),
    ['0000:03:00.1', '0000:03:00.2'].map((address) => ({
      address,
      currentVgpuType: 0,
      creatableVgpuTypes: [],
      onVfio: false,
    })),
  )
  t.deepEqual(device.merged, { state: 'no', why: 'guests have none, and none is left' })
  t.deepEqual([device.blockers, device.notes], [[], []])
  t.is(issue(device, 'nvidia-second-mdev-group-error'), undefined)
  t.is(issue(device, 'nvidia-mdev-daemons-crash'), undefined)
  t.is(issue(device, 'nvidia-vgpu-mdev-gone'), 'applies')
  t.is(issue(device, 'nvidia-vgpu-host-bulletin-5551'), 'applies')
  t.deepEqual(hooks(device), { irqfd: 'cannot-tell', ioeventfd: 'cannot-tell', level: 'cannot-tell' })
})

hostTest('nvidia-no-vgpu', (t, device) => {
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: null })
  t.regex(device.blockers.join(), /not the vGPU host driver/)
  t.deepEqual(hooks(device), { irqfd: 'no', ioeventfd: 'no', level: 'no' })
})

hostTest('amd-amdgpu', (t, device) => {
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: null })
  t.deepEqual(hooks(device), { irqfd: 'no', ioeventfd: 'no' })
  t.is(issue(device, 'amdgpu-no-host-drm-beside-mdev'), 'applies')
  t.is(issue(device, 'amdgpu-no-signalling-hooks'), 'applies')
  const supplied = Object.fromEntries(device.knownIssues.map(({ id, suppliedBy }) => [id, suppliedBy]))
  t.regex(supplied['amdgpu-no-host-drm-beside-mdev']!, /MediatedGpu .* in 2D, virtio-gpu of QEMU in 3D/)
  t.regex(
    supplied['amdgpu-no-signalling-hooks']!,
    /irqfds with every VMM; .* QEMU and cloud-hypervisor never ask/,
  )
  t.true(device.userSpace.every(({ answer }) => answer === 'no'))
  t.regex(device.notes.join(), /current_compute_partition and current_memory_partition/)
})

hostTest('amd-gim', (t, device) => {
  t.like(device, { framework: 'sriov', merged: { state: 'no' }, vfs: { total: 8, active: 1, free: 0 } })
  t.regex(device.blockers.join(), /takes the place of amdgpu/)
  t.like(device.vfMaking, { answer: 'no' })
  t.regex(device.vfMaking!.remedy!, /vf_num/)
  t.like(device.parameters[0], { name: 'vf_num', value: '1', inForce: true })
  t.is(issue(device, 'amdgpu-no-signalling-hooks'), undefined)
  t.is(device.knownIssues[0]!.id, 'amd-gim-excludes-amdgpu')
})

hostTest('nic-sriov', (t, device) => {
  t.like(device, { framework: 'sriov', merged: { state: 'merged' }, driver: 'igb' })
  t.deepEqual(device.vfs, { total: 7, active: 1, free: 6 })
  // What is known of Intel's GPUs does not concern a network card of Intel's.
  t.deepEqual(device.knownIssues, [])
})

hostTest('nic-sriov-half', (t, device) => {
  t.like(device, { framework: 'sriov', driver: 'igb', blockers: [] })
  t.deepEqual(device.vfs, { total: 7, active: 3, free: 4 })
  // An override alone gives a function no driver, and the host's own driver does not give it to guests.
  t.deepEqual(
    device.functions.map(({ driver, onVfio }) => [driver, onVfio]),
    [
      [null, false],
      [null, false],
      ['igbvf', false],
    ],
  )
  t.deepEqual(device.merged, { state: 'possible', why: 'igb serves the host, and guests could have some' })
  t.deepEqual(device.hostNodes, { cards: [], connectors: [], renders: [], accels: [] })
  t.deepEqual(device.knownIssues, [])
})

hostTest('mdev-no-types', (t, device) => {
  // i915 registered as a parent, but a folder without types offers nothing.
  t.like(device, { framework: 'none', driver: 'i915', vfs: null })
  t.deepEqual([device.mdevTypes, device.functions], [[], []])
  t.deepEqual(device.merged, { state: 'no', why: 'nothing of it can be given to guests' })
  t.deepEqual(device.blockers, ['neither GVT-g (i915.enable_gvt=1 and the module kvmgt) nor SR-IOV is there'])
  t.deepEqual(device.hostNodes, { cards: ['card0'], connectors: [], renders: ['renderD128'], accels: [] })
  t.is(issue(device, 'intel-modified-hypervisor'), undefined)
  t.true(device.parameters.every(({ value }) => value === null))
  t.deepEqual(hooks(device), { irqfd: 'no', ioeventfd: 'no', level: 'no' })
})

hostTest('mdev-mtty', (t, device) => {
  t.like(device, { name: 'mtty', bus: 'other', pci: null, framework: 'mdev', merged: { state: 'possible' } })
  t.like(device.mdevTypes[0], { id: 'mtty-1', available: 24, description: null })
})

hostTest('gpu-unbound', (t, device) => {
  t.like(device, { driver: null, driverVersion: null, framework: 'none', merged: { state: 'no' } })
  t.deepEqual(device.knownIssues, [])
  t.deepEqual(device.blockers, ['no driver has the device'])
})

hostTest('gpu-on-vfio', (t, device) => {
  t.like(device, { framework: 'none', merged: { state: 'no' }, vfs: null })
  t.regex(device.merged.why, /vfio-pci has it/)
  t.regex(device.blockers.join(), /enable_sriov is off/)
})

const posixTest = process.platform === 'win32' ? test.skip : test

posixTest('a GPU with 32 functions and 20 types is reported in full', (t) => {
  const read = (host: Host) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    host(tree)
    return mergedReport(rootsOf(tree)).devices[0]!
  }
  const vendorVfio = read(LARGE_HOSTS['nvidia-vgpu-many'])
  t.like(vendorVfio, { framework: 'vendor-vfio', merged: { state: 'merged' } })
  t.deepEqual(vendorVfio.vfs, { total: 32, active: 32, free: 0 })
  t.is(vendorVfio.functions[0]!.creatableVgpuTypes!.length, 20)
  const mdev = read(LARGE_HOSTS['nvidia-mdev-many'])
  t.like(mdev, { framework: 'mdev', merged: { state: 'possible' } })
  t.is(mdev.mdevTypes.length, 640)
})

posixTest('a parameter of modprobe.d counts only where the loaded module has it', (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  HOSTS['intel-i915-stock'](tree)
  tree.file('proc/cmdline', 'quiet')
  tree.file(
    'etc/modprobe.d/i915.conf',
    '# by hand\noptions i915 enable_guc=2 \\\n  max_vfs=5\noptions xe max_vfs=1',
  )
  const options = { ...rootsOf(tree), etcRoot: tree.path('etc') }
  const parameters = () =>
    mergedReport(options).devices[0]!.parameters.map(({ name, value, asked }) => [name, value, asked])
  t.deepEqual(parameters(), [
    ['enable_gvt', null, null],
    ['enable_guc', '3', '2'],
    ['max_vfs', null, '5'],
  ])
  // The kernel's command line wins, and the last of its words.
  tree.file('proc/cmdline', 'i915.max_vfs=1 i915.max_vfs=2 -- i915.max_vfs=3')
  t.deepEqual(parameters()[2], ['max_vfs', null, '2'])
  tree.file('module/i915/parameters/max_vfs', '2')
  t.deepEqual(parameters()[2], ['max_vfs', '2', '2'])
})

posixTest('a network card on vfio-pci is still reported, with what keeps it from virtual functions', (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  tree.pci(PF, {
    class: '0x020000',
    driver: 'vfio-pci',
    vfioDev: 'vfio0',
    files: { sriov_totalvfs: '7', sriov_numvfs: '0' },
  })
  const device = () => mergedReport(rootsOf(tree)).devices[0]!
  t.like(device(), { framework: 'none', vfs: null, vfMaking: { answer: 'no' } })
  tree.file('module/vfio_pci/parameters/enable_sriov', 'Y')
  t.like(device(), { framework: 'sriov', vfs: { total: 7, active: 0, free: 7 }, vfMaking: { answer: 'yes' } })
})

test('the fields of every fixture are asserted here', (t) => {
  t.deepEqual(asserted.toSorted(), Object.keys(HOSTS).toSorted())
})

test('a host without anything to share has an empty report', (t) => {
  const tree = new SysfsTree()
  t.teardown(() => tree.remove())
  t.true(isDeepStrictEqual(mergedReport(rootsOf(tree)), { kernelRelease: null, devices: [], problems: [] }))
})
