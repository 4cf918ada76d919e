// Virtual functions, mediated devices and vGPUs, planned, made and taken back.

import { mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { VfioError } from '../../../ts/errors.js'
import { listMdevs, listMdevTypes } from '../../../ts/host/index.js'
import { apply, ChangeError, listChanges, plan, undo } from '../../../ts/merged/index.js'
import { changeTest, GPU_PF, gpuHost, mdevHost, NIC, nicHost, NVME, UUID } from './change.js'

const VF = (index: number) => NIC.replace(/\d$/, String(index + 1))
const written = ({ steps }: ReturnType<typeof plan>) =>
  steps.map(({ write }) => `${write.file.split('/').slice(-2).join('/')}=${write.text ?? ''}`)

changeTest(
  'virtual functions appear without drivers, and go with the undoing',
  async (t, { tree, options, photograph }) => {
    nicHost(tree)
    const before = photograph()
    const planned = plan({ kind: 'sriov', device: NIC, numVfs: 2 }, options)
    t.deepEqual(written(planned), [`${NIC}/sriov_drivers_autoprobe=0`, `${NIC}/sriov_numvfs=2`])
    t.deepEqual(planned.warnings, [])
    t.deepEqual((await apply(planned, options)).seen, ['0', '2'])
    t.is(photograph()[`bus/pci/devices/${VF(1)}`], `-> ../../../devices/pci0000:00/${VF(1)}`)
    t.is(photograph()[`devices/pci0000:00/${VF(1)}/driver`], undefined)
    // One is bound; its change stands on the first.
    await apply(plan({ kind: 'bind', device: VF(0) }, options), options)
    const first = await t.throwsAsync(undo(1, options), { instanceOf: VfioError })
    t.regex(first.remedy!, /vfio undo 2 first/)
    await undo(undefined, options)
    await undo(undefined, options)
    t.deepEqual(photograph(), before)
  },
)

changeTest(
  'another number goes through 0, and everything the old ones had comes back',
  async (t, { tree, options, photograph }) => {
    nicHost(tree)
    // Three on the host's driver, of which one is given to VFIO and one stays without.
    await apply(plan({ kind: 'sriov', device: NIC, numVfs: 3, autoprobe: true }, options), options)
    t.is(photograph()[`devices/pci0000:00/${VF(2)}/driver`], '-> ../../../bus/pci/drivers/igbvf')
    await apply(plan({ kind: 'bind', device: VF(0) }, options), options)
    await apply(plan({ kind: 'unbind', device: VF(1), to: 'none' }, options), options)
    const before = photograph()
    for (const [numVfs, autoprobe] of [
      [5, false],
      [1, true],
      [0, false],
    ] as const) {
      const planned = plan({ kind: 'sriov', device: NIC, numVfs, autoprobe }, options)
      t.regex(planned.warnings.join(), /3 virtual functions of .* are removed; .*MAC addresses/)
      const { id, seen } = await apply(planned, options)
      t.is(seen.at(-1), numVfs === 0 ? '1' : String(numVfs))
      await undo(id!, options)
      t.deepEqual(photograph(), before, `${numVfs}`)
    }
    t.deepEqual(plan({ kind: 'sriov', device: NIC, numVfs: 3 }, options).steps, [])
  },
)

changeTest('what cannot have virtual functions says why', async (t, { tree, options }) => {
  nicHost(tree)
  t.throws(() => plan({ kind: 'sriov', device: NIC, numVfs: 8 }, options), {
    instanceOf: RangeError,
    message: 'change.numVfs must be a whole number from 0 to 7, not 8',
  })
  t.throws(() => plan({ kind: 'sriov', device: NVME, numVfs: 1 }, options), {
    message: /no SR-IOV capability/,
  })
  await apply(plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options), options)
  t.throws(() => plan({ kind: 'sriov', device: VF(0), numVfs: 1 }, options), {
    message: /itself a virtual function/,
  })
  const refused = (numVfs: number) =>
    plan({ kind: 'sriov', device: NIC, numVfs }, options).refusals.map(({ what }) => what)
  await apply(plan({ kind: 'bind', device: VF(0) }, options), options)
  mkdirSync(tree.path('proc/77/fd'), { recursive: true })
  tree.file('proc/77/comm', 'qemu')
  const group = /\d+$/.exec(readlinkSync(tree.path(`devices/pci0000:00/${VF(0)}/iommu_group`)))![0]
  symlinkSync(`/dev/vfio/${group}`, tree.path('proc/77/fd/3'))
  t.regex(refused(0).join(), /process 77 \(qemu\) has \/dev\/vfio\/\d+ open/)
  t.like(await t.throwsAsync(undo(1, options)), { reason: 'change-refused' })
  await t.throwsAsync(undo(undefined, options), { instanceOf: VfioError, message: /Process 77 \(qemu\) has/ })
})

changeTest('a physical function on vfio-pci needs enable_sriov', async (t, { tree, options }) => {
  nicHost(tree)
  await apply(plan({ kind: 'bind', device: NIC }, options), options)
  t.regex(plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options).refusals[0]!.what, /enable_sriov is off/)
  tree.file('module/vfio_pci/parameters/enable_sriov', 'Y')
  t.deepEqual(plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options).refusals, [])
  await apply(plan({ kind: 'unbind', device: NIC, to: 'none' }, options), options)
  t.regex(plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options).refusals[0]!.what, /has no driver/)
})

changeTest("NVIDIA's driver makes no virtual functions: its tool is named", async (t, { tree, options }) => {
  gpuHost(tree, 0)
  const refused = () => plan({ kind: 'sriov', device: GPU_PF, numVfs: 2 }, options).refusals
  t.is(refused().length, 1)
  t.regex(
    refused()[0]!.what,
    /on nvidia, which has no sriov_configure: writing sriov_numvfs fails with ENOENT/,
  )
  // A driver that is not the one for vGPU has no tool either.
  t.regex(refused()[0]!.remedy, /there is no module nvidia_vgpu_vfio/)
  tree.file('module/nvidia_vgpu_vfio/initstate', 'live')
  t.regex(refused()[0]!.what, /sriov_configure, fails with ENOENT; its functions come all at once/)
  t.regex(refused()[0]!.remedy, /sudo \/usr\/lib\/nvidia\/sriov-manage -e 0000:04:00\.0/)
  // Nothing is written, and nothing is half done.
  await t.throwsAsync(apply(plan({ kind: 'sriov', device: GPU_PF, numVfs: 2 }, options), options), {
    instanceOf: VfioError,
  })
  t.deepEqual(options.io.written, [])
})

for (const driver of [
  'nouveau',
  'amdgpu',
  'gim',
  'i915',
  'xe',
  'pci-stub',
  'uio_pci_generic',
  'mlx5_vfio_pci',
])
  changeTest(
    `${driver} is refused virtual functions before anything is written`,
    async (t, { tree, options }) => {
      tree.pci(NIC, {
        class: '0x030000',
        driver,
        group: 20,
        files: { sriov_totalvfs: '7', sriov_numvfs: '0', sriov_drivers_autoprobe: '1' },
      })
      const { refusals } = plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options)
      t.is(refusals.length, 1)
      t.regex(refusals[0]!.what, /sriov_configure|no parameter max_vfs/)
      t.truthy(refusals[0]!.remedy)
    },
  )

for (const driver of ['i915', 'xe'])
  changeTest(
    `${driver} makes virtual functions where its module has max_vfs above 0`,
    async (t, { tree, options }) => {
      tree.pci(NIC, {
        class: '0x030000',
        driver,
        files: { sriov_totalvfs: '7', sriov_numvfs: '0', sriov_drivers_autoprobe: '1' },
      })
      const refusals = () => plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options).refusals
      tree.file(`module/${driver}/parameters/max_vfs`, '0')
      t.regex(refusals()[0]!.what, /with max_vfs=0/)
      tree.file(`module/${driver}/parameters/max_vfs`, '7')
      t.deepEqual(refusals(), [])
    },
  )

for (const [code, remedy] of [
  ['EBUSY', /set the number to 0 first/],
  ['ENOENT', /cannot make virtual functions/],
  ['ENOMEM', /SR-IOV.*pci=realloc/],
] as const) {
  changeTest(
    `a kernel that answers ${code} to sriov_numvfs is explained, and autoprobe is as before`,
    async (t, { tree, faulty, photograph }) => {
      nicHost(tree)
      const options = faulty({ refuse: { sriov_numvfs: code } })
      const before = photograph()
      const error = await t.throwsAsync(
        apply(plan({ kind: 'sriov', device: NIC, numVfs: 2 }, options), options),
        {
          instanceOf: ChangeError,
        },
      )
      t.like(error, { outcome: 'undone', index: 1 })
      t.regex(error.message, remedy)
      t.deepEqual(photograph(), before)
    },
  )
}

changeTest('mediated devices are listed, made and removed', async (t, { tree, options, photograph }) => {
  mdevHost(tree)
  const before = photograph()
  t.like(listMdevTypes(options), [
    {
      id: 'mtty-1',
      parent: 'mtty',
      name: 'Single port serial',
      available: 2,
      deviceApi: 'vfio-pci',
      devices: [],
    },
  ])
  const made = await apply(
    plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: UUID.toUpperCase() }, options),
    options,
  )
  t.like(listMdevs(options), [{ uuid: UUID, parent: 'mtty', type: 'mtty-1' }])
  t.is(listMdevTypes(options)[0]!.available, 1)
  const one = photograph()
  const removed = await apply(plan({ kind: 'mdev-remove', uuid: UUID }, options), options)
  t.deepEqual(listMdevs(options), [])
  await undo(removed.id!, options)
  t.deepEqual(photograph(), one)
  // A UUID of one's own is not needed.
  const other = plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1' }, options)
  t.regex((other.change as { uuid: string }).uuid, /^[0-9a-f-]{36}$/)
  await apply(other, options)
  t.regex(
    plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1' }, options).refusals[0]!.what,
    /no capacity/,
  )
  await undo(undefined, options)
  await undo(made.id!, options)
  t.deepEqual(photograph(), before)
})

changeTest(
  'an mdev is kept for mdevctl, folders and all, and forgotten',
  async (t, { tree, options, photograph }) => {
    mdevHost(tree)
    const before = photograph()
    await apply(
      plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: UUID, persist: true }, options),
      options,
    )
    t.deepEqual(JSON.parse(photograph()[`etc/mdevctl.d/mtty/${UUID}`]!), {
      mdev_type: 'mtty-1',
      start: 'auto',
      attrs: [],
    })
    const kept = photograph()
    t.regex(plan({ kind: 'mdev-remove', uuid: UUID }, options).notes.join(), /--persist removes/)
    await apply(plan({ kind: 'mdev-remove', uuid: UUID, persist: true }, options), options)
    t.is(photograph()[`etc/mdevctl.d/mtty/${UUID}`], undefined)
    await undo(undefined, options)
    t.deepEqual(photograph(), kept)
    await undo(undefined, options)
    t.deepEqual(photograph(), before)
  },
)

changeTest('what is no mediated device says why', async (t, { tree, options }) => {
  const none = t.throws(() => plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1' }, options), {
    instanceOf: VfioError,
  })
  t.regex(none.remedy!, /No device of this host offers/)
  mdevHost(tree)
  const message = (change: Parameters<typeof plan>[0]) => t.throws(() => plan(change, options)).message
  t.regex(message({ kind: 'mdev-create', parent: 'mdpy', type: 'x' }), /These offer mediated devices: mtty/)
  t.regex(message({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-9' }), /It offers these types: mtty-1/)
  t.regex(
    message({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: 'x' }),
    /change\.uuid must be a UUID/,
  )
  t.regex(message({ kind: 'mdev-remove', uuid: UUID }), /no such mediated device/)
  await apply(plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: UUID }, options), options)
  t.deepEqual(plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', uuid: UUID }, options).steps, [])
})

changeTest('a vGPU is made of a free type, and no other', async (t, { tree, options, photograph }) => {
  gpuHost(tree)
  const vf = (index: number) => GPU_PF.replace(/\d$/, String(index + 1))
  t.is(photograph()[`devices/pci0000:00/${vf(0)}/driver`], '-> ../../../bus/pci/drivers/nvidia')
  const before = photograph()
  // Both plans are good now; the first takes the second's type from it.
  const first = plan({ kind: 'vgpu', device: vf(0), type: 557 }, options)
  const second = plan({ kind: 'vgpu', device: vf(1), type: 558 }, options)
  t.deepEqual([first.refusals, second.refusals], [[], []])
  const { id } = await apply(first, options)
  const shrunk = await t.throwsAsync(apply(second, options), { instanceOf: VfioError })
  t.like(shrunk, { code: 'EBUSY', reason: 'change-refused' })
  t.regex(shrunk.remedy!, /It can become 557 \(NVIDIA A40-1B\)/)
  // From type to type through none; what the list says is read again just before the write.
  await t.notThrowsAsync(apply(plan({ kind: 'vgpu', device: vf(1), type: 557 }, options), options))
  const through = plan({ kind: 'vgpu', device: vf(1), type: 558 }, options)
  t.deepEqual(
    through.steps.map(({ new: after }) => after),
    ['0', '558'],
  )
  const error = await t.throwsAsync(apply(through, options), { instanceOf: ChangeError })
  t.like(error, { outcome: 'undone', index: 1 })
  t.regex(error.message, /no longer lists 558/)
  t.regex(
    plan({ kind: 'sriov', device: GPU_PF, numVfs: 0 }, options)
      .refusals.map(({ what }) => what)
      .join(),
    /is a vGPU of type 557/,
  )
  await undo(undefined, options)
  await undo(id!, options)
  t.deepEqual(photograph(), before)
  t.throws(() => plan({ kind: 'vgpu', device: GPU_PF, type: 557 }, options), {
    message: /not a virtual function of NVIDIA/,
  })
})

changeTest(
  'a list that shrinks between planning and writing ends the change',
  async (t, { tree, options, photograph }) => {
    gpuHost(tree, 1)
    const vf = GPU_PF.replace(/\d$/, '1')
    const before = photograph()
    const planned = plan({ kind: 'vgpu', device: vf, type: 557 }, options)
    const list = tree.path(`devices/pci0000:00/${vf}/nvidia/creatable_vgpu_types`)
    const io = options.io
    const look = io.look.bind(io)
    // Just before the write, a sibling takes the last room.
    io.look = async (what) => {
      if (what.path.endsWith('current_vgpu_type')) writeFileSync(list, 'ID    : vGPU Name\n')
      return look(what)
    }
    const error = await t.throwsAsync(apply(planned, options), {
      instanceOf: ChangeError,
      message: /no longer lists 557/,
    })
    t.is(error.outcome, 'undone')
    t.deepEqual(
      { ...photograph(), [`devices/pci0000:00/${vf}/nvidia/creatable_vgpu_types`]: '' },
      {
        ...before,
        [`devices/pci0000:00/${vf}/nvidia/creatable_vgpu_types`]: '',
      },
    )
    t.deepEqual(listChanges(options), [])
  },
)
