// "The hardware has it" is not "the driver does it": what the report makes of SR-IOV whose driver does not.
import test, { type ExecutionContext } from 'ava'
import { mergedReport, plan, type SharedDevice } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { type Host, HOSTS, PF, rootsOf } from './hosts.js'

interface Seen {
  readonly device: SharedDevice
  /** What a plan for one virtual function says against it. */
  readonly refused: string
}

/** A GPU that could have seven, as a driver's host shows it. */
const gpu =
  (vendor: string, driver: string, more: Host = () => undefined): Host =>
  (tree) => {
    const path = tree.pci(PF, {
      vendor,
      class: '0x030000',
      driver,
      files: { sriov_totalvfs: '7', sriov_numvfs: '0', sriov_drivers_autoprobe: '1' },
    })
    tree.dir(`${path}/drm/card0`)
    more(tree)
  }

function makingTest(title: string, host: Host, body: (t: ExecutionContext, seen: Seen) => void) {
  // A Windows file name cannot hold the colons of a PCI address.
  const declare = process.platform === 'win32' ? test.skip : test
  declare(title, (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    host(tree)
    const roots = rootsOf(tree)
    const device = mergedReport(roots).devices[0]!
    const { refusals } = plan(
      { kind: 'sriov', device: PF, numVfs: 1 },
      { ...roots, stateRoot: tree.path('state') },
    )
    body(t, { device, refused: refusals.map(({ what, remedy }) => `${what}. ${remedy}`).join() })
  })
}

/** Neither the report nor the plan claims anything. */
function unclaimed(t: ExecutionContext, { device, refused }: Seen): void {
  t.not(device.framework, 'sriov')
  t.is(device.merged.state, 'no')
  t.is(device.vfs, null)
  t.not(refused, '')
}

makingTest(
  "NVIDIA's driver is not called shareable by SR-IOV for what its hardware has",
  gpu('0x10de', 'nvidia'),
  (t, seen) => {
    unclaimed(t, seen)
    t.regex(seen.refused, /sriov_configure.*sriov-manage/)
  },
)

makingTest(
  "the tool of NVIDIA's vGPU host driver is named where that driver is",
  gpu('0x10de', 'nvidia', (tree) => tree.file('module/nvidia_vgpu_vfio/initstate', 'live')),
  (t, { device, refused }) => {
    t.not(device.framework, 'sriov')
    t.is(device.merged.state, 'possible')
    t.regex(device.merged.why, /sriov-manage -e 0000:03:00\.0/)
    t.regex(refused, /sudo \/usr\/lib\/nvidia\/sriov-manage -e 0000:03:00\.0/)
  },
)

makingTest('nouveau makes no virtual functions', gpu('0x10de', 'nouveau'), unclaimed)
makingTest('GIM makes them by a parameter of its own', gpu('0x1002', 'gim'), (t, seen) => {
  unclaimed(t, seen)
  t.regex(seen.refused, /vf_num/)
})
makingTest("Linux's own i915 makes no virtual functions", gpu('0x8086', 'i915'), (t, seen) => {
  unclaimed(t, seen)
  t.regex(seen.refused, /max_vfs/)
})
makingTest(
  'i915 with max_vfs makes virtual functions',
  gpu('0x8086', 'i915', (tree) => tree.file('module/i915/parameters/max_vfs', '7')),
  (t, { device, refused }) => {
    t.like(device, { framework: 'sriov', merged: { state: 'possible' }, vfs: { total: 7, free: 7 } })
    t.is(refused, '')
  },
)
makingTest(
  'xe with max_vfs=0 makes no virtual functions',
  gpu('0x8086', 'xe', (tree) => tree.file('module/xe/parameters/max_vfs', '0')),
  unclaimed,
)

makingTest(
  'a parameter that the module does not know is not in force',
  HOSTS['intel-i915-stock'],
  (t, { device }) => {
    const parameter = device.parameters.find(({ name }) => name === 'max_vfs')
    t.is(parameter?.value, null)
    t.regex(parameter!.read, /i915\.max_vfs=7.*unknown parameter ignored/)
  },
)

makingTest(
  "NVIDIA's functions on vfio-pci are nothing that a guest has",
  HOSTS['nvidia-vfs-on-vfio-pci'],
  (t, { device }) => {
    t.is(device.merged.state, 'no')
    t.regex(device.blockers.join(), /0000:03:00\.1, 0000:03:00\.2: .*vfio unbind/)
  },
)

makingTest('GIM has no virtual functions left to make by sriov_numvfs', HOSTS['amd-gim'], (t, { device }) => {
  t.deepEqual(device.vfs, { total: 8, active: 1, free: 0 })
})
