// The virtual functions of NVIDIA's vGPU host driver: made as its own tool makes them, all at once, and taken back.

import { apply, ChangeError, plan, undo } from '../../../ts/merged/index.js'
import { type ChangeContext, changeTest, GPU_PF, gpuHost } from './change.js'
import { SimulatedKernel } from './kernel.js'

const VF = (index: number) => GPU_PF.replace(/\d$/, String(index + 1))
const LOCK = `proc/driver/nvidia/gpus/${GPU_PF}/unbindLock`
const written = ({ steps }: ReturnType<typeof plan>) =>
  steps.map(({ write }) => `${write.file.split('/').slice(-2).join('/')}=${write.text ?? ''}`)
const said = ({ refusals }: ReturnType<typeof plan>) =>
  refusals.map(({ what, remedy }) => `${what}. ${remedy}`).join('\n')

/** A vGPU host, before it has virtual functions. */
function vgpuHost({ tree }: Pick<ChangeContext, 'tree'>, autoprobe = '1'): void {
  gpuHost(tree, 0)
  tree.file('module/nvidia_vgpu_vfio/initstate', 'live')
  SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'], nvidia: ['10de:2235'], 'pci-pf-stub': [] })
  tree.file(LOCK, '0')
  const path = `devices/pci0000:00/${GPU_PF}`
  tree.file(`${path}/sriov_offset`, '1')
  tree.file(`${path}/sriov_stride`, '1')
  tree.file(`${path}/sriov_drivers_autoprobe`, autoprobe)
}

const make = (numVfs: number) => ({ kind: 'sriov', device: GPU_PF, numVfs }) as const

changeTest('all functions come by way of pci-pf-stub, and can become vGPUs', async (t, context) => {
  const { options, photograph } = context
  vgpuHost(context)
  const before = photograph()
  const planned = plan(make(4), options)
  t.is(said(planned), '')
  t.deepEqual(written(planned), [
    `${GPU_PF}/unbindLock=1`,
    `nvidia/unbind=${GPU_PF}`,
    `${GPU_PF}/driver_override=pci-pf-stub`,
    `pci/drivers_probe=${GPU_PF}`,
    `${GPU_PF}/sriov_drivers_autoprobe=0`,
    `${GPU_PF}/sriov_numvfs=4`,
    `pci-pf-stub/unbind=${GPU_PF}`,
    `${GPU_PF}/driver_override=`,
    `nvidia/bind=${GPU_PF}`,
    `${GPU_PF}/sriov_drivers_autoprobe=1`,
    ...[0, 1, 2, 3].map((index) => `nvidia/bind=${VF(index)}`),
  ])
  t.regex(planned.warnings.join(), /the host loses the GPU 0000:04:00\.0/)
  const { id } = await apply(planned, options)
  t.is(photograph()[`devices/pci0000:00/${VF(3)}/driver`], '-> ../../../bus/pci/drivers/nvidia')
  t.is(photograph()[`devices/pci0000:00/${GPU_PF}/driver`], '-> ../../../bus/pci/drivers/nvidia')
  t.deepEqual(plan({ kind: 'vgpu', device: VF(0), type: 557 }, options).refusals, [])
  t.deepEqual(plan(make(4), options).steps, [])
  await undo(id!, options)
  t.deepEqual(photograph(), before)
})

changeTest('they go the same way, and an undo brings them back', async (t, context) => {
  const { options, photograph } = context
  vgpuHost(context)
  await apply(plan(make(4), options), options)
  // What the driver makes of its own lock when it takes the GPU again.
  context.tree.file(LOCK, '0')
  const before = photograph()
  const { id } = await apply(plan(make(0), options), options)
  t.is(photograph()[`devices/pci0000:00/${VF(0)}/driver`], undefined)
  t.is(photograph()[`devices/pci0000:00/${GPU_PF}/driver`], '-> ../../../bus/pci/drivers/nvidia')
  await undo(id!, options)
  t.deepEqual(photograph(), before)
})

changeTest('where drivers may not take functions, they may for as long as it takes', async (t, context) => {
  const { options, photograph } = context
  vgpuHost(context, '0')
  const steps = written(plan(make(4), options))
  t.deepEqual(
    steps.filter((step) => step.includes('autoprobe')),
    [`${GPU_PF}/sriov_drivers_autoprobe=1`, `${GPU_PF}/sriov_drivers_autoprobe=0`],
  )
  await apply(plan(make(4), options), options)
  t.is(photograph()[`devices/pci0000:00/${VF(0)}/driver`], '-> ../../../bus/pci/drivers/nvidia')
})

changeTest('a function that NVIDIA refuses takes everything back', async (t, context) => {
  const { faulty, photograph } = context
  vgpuHost(context)
  const options = faulty({ refuse: { sriov_numvfs: 'ENOMEM' } })
  const before = photograph()
  const error = await t.throwsAsync(apply(plan(make(4), options), options), { instanceOf: ChangeError })
  t.like(error, { outcome: 'undone', index: 5 })
  t.deepEqual(photograph(), before)
})

changeTest('a part of them is refused, and each means that is missing is named', async (t, context) => {
  const { options, tree } = context
  vgpuHost(context)
  const refused = said(plan(make(2), options))
  t.regex(refused, /come all at once\. Ask for all of them: vfio sriov set 0000:04:00\.0 4\./)
  t.regex(refused, /sudo \/usr\/lib\/nvidia\/sriov-manage -e 0000:04:00\.0/)
  const bare = plan(make(4), { ...options, procRoot: tree.path('none') })
  t.regex(said(bare), /has no \/proc\/driver\/nvidia\/gpus\/0000:04:00\.0\/unbindLock/)
  t.deepEqual(bare.steps, [])
})

changeTest(
  'without pci-pf-stub, or the offset of the functions, nothing is written',
  async (t, { tree, options }) => {
    gpuHost(tree, 0)
    tree.file('module/nvidia_vgpu_vfio/initstate', 'live')
    tree.file(LOCK, '0')
    const planned = plan(make(4), options)
    t.regex(said(planned), /that driver is not there\. Load it: modprobe pci-pf-stub\./)
    t.regex(said(planned), /does not tell which addresses/)
    t.deepEqual(planned.steps, [])
  },
)
