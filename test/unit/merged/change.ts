// What the tests of changes share: a host in a tree with the simulated kernel, and where the state of changes is.

import test, { type ExecutionContext } from 'ava'
import type { ChangeOptions } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { rootsIn } from './change-roots.js'
import { type Faults, photograph, portrait, SimulatedKernel } from './kernel.js'

export const NVME = '0000:00:14.0'
export const EDU = '0000:00:10.0'

export interface ChangeContext {
  readonly tree: SysfsTree
  /** For plan, apply and undo. */
  readonly options: ChangeOptions & { readonly io: SimulatedKernel }
  /** The same with a kernel that does some writes wrong. */
  readonly faulty: (faults: Faults) => ChangeOptions & { readonly io: SimulatedKernel }
  /** Everything in the tree but the state of changes. */
  readonly photograph: () => Record<string, string>
  /** The same with permissions and owners. */
  readonly portrait: () => Record<string, string>
}

export { rootsIn }

/** A host with an nvme on its driver and an edu without, each in a group. */
export function usualHost(tree: SysfsTree): void {
  SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'] })
  tree.file('proc/sys/kernel/random/boot_id', 'a2b0b4a4-6a0c-4c4e-9d9c-3f6f3a1f0001')
  tree.file('proc/sys/kernel/osrelease', '6.1.0-18-amd64')
  tree.dir('etc')
  tree.file('usr/lib/udev/rules.d/05-driverctl.rules', 'ACTION=="add", SUBSYSTEM=="pci"')
  tree.file('usr/lib/udev/rules.d/60-mdevctl.rules', 'ACTION=="add", SUBSYSTEM=="mdev"')
  tree.dir('var/lib')
  tree.pci(NVME, { vendor: '0x1b36', device: '0x0010', class: '0x010802', driver: 'nvme', group: 6 })
  tree.pci(EDU, { group: 2 })
}

export const NIC = '0000:03:00.0'
export const GPU_PF = '0000:04:00.0'
export const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

/** A network card that can have seven virtual functions. */
export function nicHost(tree: SysfsTree): void {
  SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'], igb: [], igbvf: ['8086:10c9'] })
  tree.pci(NIC, {
    vendor: '0x8086',
    device: '0x10c9',
    class: '0x020000',
    driver: 'igb',
    group: 20,
    files: { sriov_totalvfs: '7', sriov_numvfs: '0', sriov_drivers_autoprobe: '1' },
  })
}

/** The sample driver mtty, with room for two. */
export function mdevHost(tree: SysfsTree): void {
  const type = 'devices/virtual/mtty/mtty/mdev_supported_types/mtty-1'
  tree.file(`${type}/name`, 'Single port serial')
  tree.file(`${type}/available_instances`, '2')
  tree.file(`${type}/device_api`, 'vfio-pci')
  tree.file(`${type}/create`, '')
  tree.dir(`${type}/devices`)
  tree.dir('bus/mdev/devices')
  tree.link('class/mdev_bus/mtty', 'devices/virtual/mtty/mtty')
}

/** A GPU of NVIDIA's with vendor VFIO, and the virtual functions that NVIDIA's tool has made. */
export function gpuHost(tree: SysfsTree, vfs = 2): void {
  SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'], nvidia: ['10de:2235'] })
  tree.file('.kernel/vgpu-types', 'ID    : vGPU Name\n557   : NVIDIA A40-1B\n558   : NVIDIA A40-2B')
  tree.pci(GPU_PF, {
    vendor: '0x10de',
    device: '0x2235',
    class: '0x030200',
    driver: 'nvidia',
    group: 21,
    files: { sriov_totalvfs: '4', sriov_numvfs: '0', sriov_drivers_autoprobe: '1' },
  })
  if (vfs > 0) new SimulatedKernel(tree.root).sriovManage(GPU_PF, vfs)
}

/** @param serial for tests that change what the whole process shares */
export function changeTest(
  title: string,
  body: (t: ExecutionContext, context: ChangeContext) => Promise<void> | void,
  { serial = false } = {},
): void {
  // The host can be changed only on Linux.
  const declare = process.platform !== 'linux' ? test.skip : serial ? test.serial : test
  declare(title, async (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    usualHost(tree)
    const faulty = (faults: Faults) => ({ ...rootsIn(tree.root), io: new SimulatedKernel(tree.root, faults) })
    await body(t, {
      tree,
      options: faulty({}),
      faulty,
      photograph: () => photograph(tree.root, ['var/lib/node-vfio']),
      portrait: () => portrait(tree.root, ['var/lib/node-vfio']),
    })
  })
}
