// What the tests of changes share: a host in a tree with the simulated kernel, and where the state of changes is.

import test, { type ExecutionContext } from 'ava'
import type { ChangeOptions } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { type Faults, photograph, SimulatedKernel } from './kernel.js'

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
}

export const rootsIn = (root: string) => ({
  sysfsRoot: root,
  devRoot: `${root}/dev`,
  procRoot: `${root}/proc`,
  pciIds: `${root}/pci.ids`,
  modulesRoot: `${root}/lib/modules`,
  stateRoot: `${root}/var/lib/node-vfio`,
  etcRoot: `${root}/etc`,
})

/** A host with an nvme on its driver and an edu without, each in a group. */
export function usualHost(tree: SysfsTree): void {
  SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'] })
  tree.file('proc/sys/kernel/random/boot_id', 'a2b0b4a4-6a0c-4c4e-9d9c-3f6f3a1f0001')
  tree.file('proc/sys/kernel/osrelease', '6.1.0-18-amd64')
  tree.dir('etc')
  tree.dir('var/lib')
  tree.pci(NVME, { vendor: '0x1b36', device: '0x0010', class: '0x010802', driver: 'nvme', group: 6 })
  tree.pci(EDU, { group: 2 })
}

export function changeTest(
  title: string,
  body: (t: ExecutionContext, context: ChangeContext) => Promise<void>,
): void {
  // The host is changed on Linux alone.
  const declare = process.platform === 'linux' ? test : test.skip
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
    })
  })
}
