// The share of an Intel GPU that xe gives a function: set, taken back, and refused where the kernel has it not.

import { VfioError } from '../../../ts/errors.js'
import { apply, plan, undo } from '../../../ts/merged/index.js'
import { cliTest } from '../cli/run.js'
import type { SysfsTree } from '../host/fixture.js'
import { changeTest } from './change.js'

const PF = '0000:03:00.0'
const VF = '0000:03:00.1'

/** A Battlemage with one virtual function; without the quota, as before Linux 7.2, if it is left out. */
function xeHost(tree: SysfsTree, quota?: string): void {
  const path = tree.pci(PF, { vendor: '0x8086', device: '0xe211', class: '0x030000', driver: 'xe', group: 5 })
  const vf = tree.pci(VF, { vendor: '0x8086', device: '0xe211', class: '0x030000', group: 7 })
  tree.file(`${path}/sriov_totalvfs`, '12')
  tree.file(`${path}/sriov_numvfs`, '1')
  tree.link(`${vf}/physfn`, path)
  tree.link(`${path}/virtfn0`, vf)
  for (const of of ['pf', 'vf1']) {
    tree.file(`${path}/sriov_admin/${of}/profile/exec_quantum_ms`, '0')
    tree.file(`${path}/sriov_admin/${of}/profile/sched_priority`, '[low] normal')
  }
  if (quota !== undefined) tree.file(`${path}/sriov_admin/vf1/profile/vram_quota`, quota)
}

const written = ({ steps }: ReturnType<typeof plan>) =>
  steps.map(({ write }) => `${write.file.split('/').slice(-4).join('/')}=${write.text ?? ''}`)

changeTest(
  'a function has another share, and the old one again',
  async (t, { tree, options, photograph }) => {
    xeHost(tree, '0')
    const before = photograph()
    const settings = { exec_quantum_ms: '20', sched_priority: 'normal', vram_quota: '8589934592' }
    const planned = plan({ kind: 'profile', device: VF, settings }, options)
    t.deepEqual([planned.refusals, planned.warnings], [[], []])
    t.deepEqual(written(planned), [
      'sriov_admin/vf1/profile/exec_quantum_ms=20',
      'sriov_admin/vf1/profile/sched_priority=normal',
      'sriov_admin/vf1/profile/vram_quota=8589934592',
    ])
    const { id, seen } = await apply(planned, options)
    t.deepEqual(seen, ['20', 'low [normal]', '8589934592'])
    t.deepEqual(plan({ kind: 'profile', device: VF, settings }, options).steps, [])
    await undo(id!, options)
    t.deepEqual(photograph(), before)
  },
)

changeTest('the physical function has a share of its own', async (t, { tree, options }) => {
  xeHost(tree)
  const planned = plan({ kind: 'profile', device: PF, settings: { exec_quantum_ms: '5' } }, options)
  t.deepEqual(written(planned), ['sriov_admin/pf/profile/exec_quantum_ms=5'])
})

changeTest('the file tells whether there is a quota, and not the version', async (t, { tree, options }) => {
  xeHost(tree)
  const { refusals, steps } = plan({ kind: 'profile', device: VF, settings: { vram_quota: '1' } }, options)
  t.regex(refusals[0]!.what, /this kernel has no vram_quota for 0000:03:00\.1/)
  t.regex(refusals[0]!.remedy, /Linux 7\.2/)
  t.deepEqual(steps, [])
})

changeTest('a word that the kernel does not list is refused', async (t, { tree, options }) => {
  xeHost(tree)
  const { refusals } = plan({ kind: 'profile', device: VF, settings: { sched_priority: 'high' } }, options)
  t.regex(refusals[0]!.remedy, /It can be low or normal\./)
})

cliTest('a wrong setting ends the command before anything is read', async (t, { vfio }) => {
  for (const [given, said] of [
    ['exec_quantum_ms', /NAME=VALUE/],
    ['colour=red', /with a name of exec_quantum_ms, /],
    ['exec_quantum_ms=fast', /exec_quantum_ms must be a whole number of milliseconds/],
    ['sched_priority=highest', /sched_priority must be low, normal or high/],
  ] as const) {
    const { status, err } = await vfio('sriov', 'profile', VF, given)
    t.is(status, 2)
    t.regex(err, said)
  }
})

cliTest('several settings of one command are one change', async (t, { tree, vfio }) => {
  xeHost(tree, '0')
  const { status, out } = await vfio('plan', 'sriov', 'profile', VF, 'exec_quantum_ms=5', 'vram_quota=4096')
  t.is(status, 0)
  t.regex(out, /^set exec_quantum_ms=5, vram_quota=4096 of 0000:03:00\.1$/m)
})

changeTest('a device without a profile says who has one', async (t, { tree, options }) => {
  tree.pci(PF, { vendor: '0x8086', device: '0xe211', class: '0x030000', driver: 'xe', group: 5 })
  t.throws(() => plan({ kind: 'profile', device: PF, settings: { exec_quantum_ms: '5' } }, options), {
    instanceOf: VfioError,
    message: /xe has them from Linux 6\.19/,
  })
})
