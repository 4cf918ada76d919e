// `vfio` killed with SIGKILL before and after every write of every framework's change, and of its undoing: afterwards
// `vfio undo` leaves the host as it was.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test from 'ava'
import { listChanges } from '../../../ts/merged/index.js'
import { SysfsTree } from '../host/fixture.js'
import { GPU_PF, gpuHost, mdevHost, NIC, nicHost, NVME, rootsIn, usualHost, UUID } from './change.js'
import { portrait } from './kernel.js'

const PROGRAM = join(import.meta.dirname, 'fault.js')

async function run(
  root: string,
  faults: Record<string, string>,
  ...args: string[]
): Promise<number | string | null> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env: { ...process.env, NODE_VFIO_TREE: root, ...faults },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [status, signal] = (await once(child, 'exit')) as [number | null, string | null]
  return signal ?? status
}

const vfio = (root: string, fault: string, ...args: string[]): Promise<number | string | null> =>
  run(root, { NODE_VFIO_FAULT: fault }, ...args)

interface Scene {
  readonly name: string
  readonly host: (tree: SysfsTree) => void
  /** What is done before, unharmed. */
  readonly before?: readonly (readonly string[])[]
  readonly command: readonly string[]
  readonly steps: number
}

const SCENES: readonly Scene[] = [
  { name: 'binding', host: () => undefined, command: ['bind', NVME, '--persist'], steps: 5 },
  {
    name: 'SR-IOV',
    host: nicHost,
    before: [
      ['sriov', 'set', NIC, '2', '--autoprobe'],
      ['bind', NIC.replace(/0$/, '1')],
    ],
    command: ['sriov', 'set', NIC, '3', '--yes'],
    steps: 6,
  },
  {
    name: 'mdev',
    host: mdevHost,
    command: ['mdev', 'create', 'mtty', 'mtty-1', '--uuid', UUID, '--persist'],
    steps: 4,
  },
  {
    name: 'vendor VFIO',
    host: gpuHost,
    before: [['vgpu', GPU_PF.replace(/0$/, '1'), '557']],
    command: ['vgpu', GPU_PF.replace(/0$/, '1'), '558', '--yes'],
    steps: 2,
  },
]

for (const { name, host, before = [], command, steps } of SCENES) {
  const declare = process.platform === 'linux' ? test.serial : test.skip
  declare(`${name}: killed at every step, undone every time`, async (t) => {
    t.timeout(600_000)
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    usualHost(tree)
    host(tree)
    const { root } = tree
    const picture = () => portrait(root, ['var/lib/node-vfio'])
    for (const each of before) t.is(await vfio(root, '', ...each), 0, each.join(' '))
    const options = rootsIn(root)
    const earlier = listChanges(options).length
    const whole = picture()
    for (let index = 0; index < steps; index++) {
      for (const phase of ['before-write', 'after-write']) {
        const at = `${phase}:${index}`
        t.is(await vfio(root, at, ...command), 'SIGKILL', at)
        const [cut] = listChanges(options).slice(earlier)
        t.like(cut, { state: 'interrupted' }, at)
        if (phase === 'after-write') t.notDeepEqual(picture(), whole, at)
        t.is(await vfio(root, '', 'undo'), 0, at)
        t.deepEqual(picture(), whole, at)
        t.is(listChanges(options).length, earlier, at)
      }
    }
    for (let index = steps - 1; index >= 0; index--) {
      const at = `after-undo:${index}`
      t.is(await vfio(root, '', ...command), 0, at)
      t.is(await vfio(root, at, 'undo'), 'SIGKILL', at)
      t.is(await vfio(root, '', 'undo'), 0, at)
      t.deepEqual(picture(), whole, at)
    }
    t.is(await vfio(root, `done:${steps}`, ...command), 0, 'there is no step after the last')
  })
}

for (const { name, host, before = [], command, steps } of SCENES) {
  const declare = process.platform === 'linux' ? test.serial : test.skip
  declare(`${name}: on a disk that fills up, killed at every step and undone every time`, async (t) => {
    t.timeout(600_000)
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    usualHost(tree)
    host(tree)
    const { root } = tree
    const picture = () => portrait(root, ['var/lib/node-vfio'])
    for (const each of before) t.is(await vfio(root, '', ...each), 0, each.join(' '))
    const options = rootsIn(root)
    const earlier = listChanges(options).length
    const whole = picture()
    for (let index = 0; index < steps; index++) {
      const at = `after-write:${index}`
      // What had room before its first step has it to the last.
      const faults = { NODE_VFIO_FULL: 'before-write:0', NODE_VFIO_FAULT: at }
      t.is(await run(root, faults, ...command), 'SIGKILL', at)
      t.like(
        listChanges(options).slice(earlier),
        [{ state: 'interrupted', begun: { length: index + 1 } }],
        at,
      )
      // Not a byte more is to be had.
      t.is(await run(root, { NODE_VFIO_FULL: 'start' }, 'undo'), 0, at)
      t.deepEqual(picture(), whole, at)
      t.is(listChanges(options).length, earlier, at)
    }
    t.is(await run(root, { NODE_VFIO_FULL: 'start' }, ...command), 1)
    t.deepEqual(picture(), whole)
  })
}
