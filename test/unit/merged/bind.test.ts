// Binding and unbinding, planned, made and taken back, with everything that goes wrong on the way.

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { VfioError } from '../../../ts/errors.js'
import { apply, ChangeError, listChanges, plan, undo } from '../../../ts/merged/index.js'
import { changeTest, EDU, NVME } from './change.js'
import { SimulatedKernel } from './kernel.js'

const writes = ({ steps }: ReturnType<typeof plan>, root: string) =>
  steps.map(({ write, old, new: after }) => [write.file.slice(root.length + 1), write.text, old, after])

changeTest('a plan lists every write and makes none', async (t, { tree, options, photograph }) => {
  const before = photograph()
  const planned = plan({ kind: 'bind', device: '00:14.0' }, options)
  t.deepEqual(writes(planned, tree.root), [
    ['bus/pci/drivers/nvme/unbind', NVME, 'nvme', null],
    [`bus/pci/devices/${NVME}/driver_override`, 'vfio-pci', null, 'vfio-pci'],
    ['bus/pci/drivers_probe', NVME, null, 'vfio-pci'],
  ])
  t.deepEqual(planned.refusals, [])
  t.is(planned.summary, `bind ${NVME} to vfio-pci`)
  t.deepEqual(photograph(), before)
  t.deepEqual(options.io.written, [])
})

changeTest('bind and undo leave the host as it was', async (t, { tree, options, photograph }) => {
  const before = photograph()
  const { id, seen } = await apply(plan({ kind: 'bind', device: NVME }, options), options)
  t.deepEqual(seen, [null, 'vfio-pci', 'vfio-pci'])
  t.is(photograph()[`devices/pci0000:00/${NVME}/driver`], '-> ../../../bus/pci/drivers/vfio-pci')
  t.like(listChanges(options)[0], { id: id!, state: 'applied', begun: { length: 3 } })
  // The same again is nothing to do.
  t.deepEqual(plan({ kind: 'bind', device: NVME }, options).steps, [])
  t.like(await undo(id!, options), { id: id!, rebooted: false })
  t.deepEqual(photograph(), before)
  t.deepEqual(listChanges(options), [])
  t.deepEqual(options.io.written.slice(3), [
    `bus/pci/drivers/vfio-pci/unbind=${NVME}`,
    `bus/pci/devices/${NVME}/driver_override=`,
    `bus/pci/drivers/nvme/bind=${NVME}`,
  ])
  t.true(tree.root.length > 0)
})

changeTest('unbind gives the device back to the driver that wants it', async (t, { options, photograph }) => {
  const home = photograph()
  await apply(plan({ kind: 'bind', device: NVME }, options), options)
  const bound = photograph()
  const { id, seen } = await apply(plan({ kind: 'unbind', device: NVME }, options), options)
  t.deepEqual(seen, [null, null, 'nvme'])
  t.deepEqual(photograph(), home)
  await undo(id!, options)
  t.deepEqual(photograph(), bound)
  // A driver that nobody knows: none takes it, which is no failure.
  await apply(plan({ kind: 'bind', device: EDU }, options), options)
  const released = await apply(plan({ kind: 'unbind', device: EDU }, options), options)
  t.deepEqual(released.seen, [null, null, null])
  await undo(undefined, options)
  t.deepEqual(listChanges(options).length, 2)
})

changeTest('unbind without a driver leaves it without one', async (t, { options, photograph }) => {
  const before = photograph()
  const { seen } = await apply(plan({ kind: 'unbind', device: NVME, to: 'none' }, options), options)
  t.deepEqual(seen, [null])
  await undo(undefined, options)
  t.deepEqual(photograph(), before)
})

for (const [what, faults, message] of [
  ['refuses to unbind', { refuse: { 'nvme/unbind': 'EBUSY' } }, /step 1: write on .*EBUSY.*were undone/],
  ['refuses the override', { refuse: { driver_override: 'EINVAL' } }, /step 2: write on .*EINVAL/],
  [
    'probes without binding',
    { deaf: ['drivers_probe'] },
    /step 3: .*succeeded, but .*driver contains nothing instead of "vfio-pci"/,
  ],
  [
    'fails to probe',
    { refuse: { drivers_probe: 'EINVAL' } },
    /step 3: .*could not initialize the device: see dmesg/,
  ],
] as const) {
  changeTest(`a kernel that ${what} gets everything taken back`, async (t, { faulty, photograph }) => {
    const options = faulty(faults)
    const before = photograph()
    const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, options), options), {
      instanceOf: ChangeError,
      message,
    })
    t.is(error.outcome, 'undone')
    t.true(error.cause instanceof VfioError)
    t.deepEqual(photograph(), before)
    t.deepEqual(listChanges(options), [])
  })
}

changeTest(
  'what cannot be taken back is told, and undone later',
  async (t, { options, faulty, photograph }) => {
    const before = photograph()
    const bad = faulty({ deaf: ['drivers_probe'], refuse: { 'nvme/bind': 'ENODEV' } })
    const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, bad), bad), {
      instanceOf: ChangeError,
    })
    t.is(error.outcome, 'left')
    t.regex(error.message, /vfio undo \d+$/)
    t.like(error.leftovers, [{ index: 0 }])
    t.like(listChanges(options), [{ id: error.id, state: 'interrupted' }])
    // Nothing else may be done to the device before.
    const refused = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, options), options), {
      instanceOf: VfioError,
    })
    t.like(refused, { code: 'EBUSY', reason: 'change-interrupted' })
    t.regex(refused.remedy!, /vfio undo \d+$/)
    await undo(error.id, options)
    t.deepEqual(photograph(), before)
  },
)

changeTest('a device that is open is not taken', async (t, { tree, options, photograph }) => {
  await apply(plan({ kind: 'bind', device: NVME }, options), options)
  mkdirSync(tree.path('proc/4711/fd'), { recursive: true })
  tree.file('proc/4711/comm', 'qemu-system-x86')
  symlinkSync('/dev/vfio/6', tree.path('proc/4711/fd/17'))
  const before = photograph()
  const planned = plan({ kind: 'unbind', device: NVME }, options)
  t.like(planned.refusals, [
    { reason: 'in-use', what: 'process 4711 (qemu-system-x86) has /dev/vfio/6 open' },
  ])
  const count = options.io.written.length
  const refused = await t.throwsAsync(apply(planned, options), { instanceOf: VfioError })
  t.like(refused, { code: 'EBUSY', reason: 'in-use' })
  t.like(await t.throwsAsync(undo(undefined, options)), { code: 'EBUSY', reason: 'in-use' } as never)
  t.is(options.io.written.length, count)
  t.deepEqual(photograph(), before)
})

changeTest(
  'what VFIO tells of an open device itself counts, and other devices do not',
  async (t, { tree, options }) => {
    mkdirSync(tree.path('proc/12/fd'), { recursive: true })
    symlinkSync('anon_inode:[vfio-device]', tree.path('proc/12/fd/9'))
    tree.file('proc/12/fdinfo/9', `pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/${EDU}`)
    t.like(plan({ kind: 'bind', device: EDU }, options).refusals, [
      { what: 'process 12 has vfio-device open' },
    ])
    t.deepEqual(plan({ kind: 'bind', device: NVME }, options).refusals, [])
  },
)

changeTest('a disk in use is not given away', async (t, { tree, options }) => {
  const disk = `devices/pci0000:00/${NVME}/nvme/nvme0/nvme0n1`
  tree.file(`${disk}/dev`, '259:0')
  tree.link('class/block/nvme0n1', disk)
  tree.file('proc/self/mountinfo', '25 1 259:0 / / rw - ext4 /dev/nvme0n1 rw')
  t.like(plan({ kind: 'bind', device: NVME }, options).refusals, [
    { what: `nvme0n1 is mounted on / (${NVME})` },
  ])
  tree.file('proc/self/mountinfo', '')
  tree.file('proc/swaps', 'Filename Type\n/dev/nvme0n1 partition 100 0 -2')
  t.like(plan({ kind: 'bind', device: NVME }, options).refusals, [{ what: `nvme0n1 is swap (${NVME})` }])
  tree.file('proc/swaps', 'Filename Type')
  tree.dir(`${disk}/holders/dm-0`)
  t.like(plan({ kind: 'bind', device: NVME }, options).refusals, [
    { what: `nvme0n1 is part of dm-0 (${NVME})` },
  ])
})

changeTest('a network that is up is a warning', async (t, { tree, options }) => {
  const path = tree.pci('0000:00:13.0', { class: '0x020000', driver: 'e1000e', group: 5 })
  tree.file(`${path}/net/eth0/flags`, '0x1003')
  tree.link('class/net/eth0', `${path}/net/eth0`)
  const { warnings, refusals } = plan({ kind: 'bind', device: '0000:00:13.0' }, options)
  t.deepEqual(refusals, [])
  t.deepEqual(warnings, ['eth0 is up (0000:00:13.0): the host would lose it'])
})

changeTest('of class 06 only what leads to another bus is a bridge', async (t, { tree, options }) => {
  const NVSWITCH = '0000:05:00.0'
  tree.pci(NVSWITCH, { class: '0x068000', vendor: '0x10de', driver: 'nvidia', group: 15 })
  t.deepEqual(plan({ kind: 'bind', device: NVSWITCH }, options).refusals, [])
  tree.pci('0000:05:01.0', { class: '0x060400', driver: 'pcieport', group: 15 })
  const { devices } = plan({ kind: 'bind', device: NVSWITCH, group: true }, options)
  t.deepEqual(devices, [NVSWITCH])
})

changeTest(
  'a virtual function of an NVIDIA GPU is warned of before it goes to vfio-pci',
  async (t, { tree, options }) => {
    const [PF, VF] = ['0000:41:00.0', '0000:41:00.4']
    tree.pci(PF, { class: '0x030200', vendor: '0x10de', driver: 'nvidia', group: 41 })
    const path = tree.pci(VF, { class: '0x030200', vendor: '0x10de', driver: 'nvidia', group: 42 })
    tree.link(`${path}/physfn`, `devices/pci0000:00/${PF}`)
    const { warnings } = plan({ kind: 'bind', device: VF }, options)
    t.is(warnings.length, 1)
    t.regex(warnings[0]!, /0000:41:00\.4 is a virtual function of an NVIDIA GPU.*vfio-pci.*vfio vgpu/)
    // The GPU itself, and a function of another maker.
    t.deepEqual(plan({ kind: 'bind', device: PF }, options).warnings, [])
    tree.file(`${path}/vendor`, '0x8086')
    t.deepEqual(plan({ kind: 'bind', device: VF }, options).warnings, [])
  },
)

changeTest('what is no candidate is refused with the remedy', async (t, { tree, options }) => {
  tree.pci('0000:00:1c.0', { class: '0x060400', driver: 'pcieport', group: 8 })
  tree.pci('0000:00:02.0', {})
  tree.pci('0000:03:00.0', { driver: 'igb', group: 9, files: { sriov_totalvfs: '7', sriov_numvfs: '2' } })
  const refused = (device: string, driver?: string) =>
    plan({ kind: 'bind', device, ...(driver === undefined ? {} : { driver }) }, options).refusals.map(
      ({ what }) => what,
    )
  t.deepEqual(refused('0000:00:1c.0'), ['0000:00:1c.0 is a bridge'])
  t.deepEqual(refused('0000:00:02.0'), ['0000:00:02.0 is in no IOMMU group: vfio-pci would refuse it'])
  t.deepEqual(refused('0000:03:00.0'), [
    '0000:03:00.0 has 2 virtual functions, which disappear with its driver',
  ])
  t.deepEqual(refused(EDU, 'mlx5_vfio_pci'), ['the driver mlx5_vfio_pci is not loaded'])
  t.like(
    t.throws(() => plan({ kind: 'bind', device: '0000:77:00.0' }, options)),
    {
      code: 'ENODEV',
      reason: 'no-such-device',
    } as never,
  )
  t.throws(() => plan({ kind: 'bind', device: 'edu' }, options), { instanceOf: TypeError })
  t.throws(() => plan({ kind: 'bind', device: EDU, driver: '../x' }, options), { instanceOf: TypeError })
  t.throws(() => plan({ kind: 'blend', device: EDU } as never, options), { instanceOf: TypeError })
})

changeTest('the variant driver made for a device comes first', async (t, { tree, options }) => {
  const path = tree.pci('0000:05:00.2', {
    group: 11,
    files: { modalias: 'pci:v000015B3d0000101Esv000015B3sd00000001bc02sc00i00' },
  })
  tree.file(
    'lib/modules/6.1.0-18-amd64/modules.alias',
    [
      'alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci',
      'alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core',
      'alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci',
    ].join('\n'),
  )
  const unloaded = plan({ kind: 'bind', device: '0000:05:00.2' }, options)
  t.like(unloaded.refusals, [{ remedy: 'modprobe mlx5_vfio_pci; or use another driver: --driver vfio-pci' }])
  tree.link('module/mlx5_vfio_pci/drivers/pci:mlx5_vfio_pci', 'bus/pci/drivers/mlx5_vfio_pci')
  const loaded = plan({ kind: 'bind', device: '0000:05:00.2' }, options)
  t.deepEqual(loaded.refusals, [])
  t.is(loaded.steps.at(-1)?.new, 'mlx5_vfio_pci')
  t.is(
    plan({ kind: 'bind', device: '0000:05:00.2', driver: 'vfio-pci' }, options).steps.at(-1)?.new,
    'vfio-pci',
  )
  t.true(path.length > 0)
})

changeTest('a group is shown, and taken as a whole when asked', async (t, { tree, options, photograph }) => {
  const [a, b, c] = ['0000:01:01.0', '0000:01:02.0', '0000:01:03.0']
  tree.pci(a, { group: 8 })
  tree.pci(b, { group: 8, driver: 'vfio-pci', vfioDev: 'vfio3' })
  tree.pci(c, { group: 8, vendor: '0x1af4', device: '0x1044', driver: 'virtio-pci' })
  SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'], 'virtio-pci': ['1af4:1044'] })
  const alone = plan({ kind: 'bind', device: a }, options)
  t.deepEqual(alone.neighbours, [
    { name: b, driver: 'vfio-pci', blocks: false },
    { name: c, driver: 'virtio-pci', blocks: true },
  ])
  t.regex(alone.notes.join(), /group 8 cannot be opened .*0000:01:03\.0 is on virtio-pci.*--group/)
  const before = photograph()
  const whole = plan({ kind: 'bind', device: a, group: true }, options)
  t.deepEqual(whole.devices, [a, c])
  t.deepEqual(whole.notes, [])
  await apply(whole, options)
  t.is(photograph()[`devices/pci0000:00/${c}/driver`], '-> ../../../bus/pci/drivers/vfio-pci')
  await undo(undefined, options)
  t.deepEqual(photograph(), before)
})

changeTest(
  'a binding is kept for driverctl, and its file goes with the undoing',
  async (t, { tree, options, photograph }) => {
    const before = photograph()
    await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    t.is(photograph()[`etc/driverctl.d/pci-${NVME}`], 'vfio-pci\n')
    const kept = photograph()
    await apply(plan({ kind: 'unbind', device: NVME, persist: true }, options), options)
    t.is(photograph()[`etc/driverctl.d/pci-${NVME}`], undefined)
    await undo(undefined, options)
    t.deepEqual(photograph(), kept)
    await undo(undefined, options)
    t.deepEqual(photograph(), before)
    t.true(tree.root.length > 0)
  },
)

changeTest(
  'a plan that does not fit the host any more is refused',
  async (t, { tree, options, photograph }) => {
    const planned = plan({ kind: 'bind', device: NVME }, options)
    const other = plan({ kind: 'bind', device: EDU }, options)
    await apply(plan({ kind: 'unbind', device: NVME, to: 'none' }, options), options)
    const before = photograph()
    const differs = { code: 'EINVAL', reason: 'host-differs' }
    t.like(await t.throwsAsync(apply(planned, options)), differs as never)
    // A plan is data: writes that somebody slipped into it are not made.
    const slipped = { ...other, steps: [{ ...other.steps[0]!, write: { file: '/etc/shadow', text: 'x' } }] }
    t.like(await t.throwsAsync(apply(slipped, options)), differs as never)
    tree.file('proc/sys/kernel/random/boot_id', 'another')
    const booted = await t.throwsAsync(apply(other, options), { instanceOf: VfioError })
    t.regex(booted.remedy!, /rebooted/)
    tree.file('proc/sys/kernel/random/boot_id', 'a2b0b4a4-6a0c-4c4e-9d9c-3f6f3a1f0001')
    t.deepEqual(photograph(), before)
    await t.throwsAsync(apply({} as never, options), { instanceOf: TypeError })
    await t.throwsAsync(apply({ ...planned, schema: 'vfio-plan/9' } as never, options), {
      instanceOf: TypeError,
    })
  },
)

changeTest('what somebody else changed since is not overwritten', async (t, { tree, options }) => {
  const { id } = await apply(plan({ kind: 'bind', device: EDU }, options), options)
  writeFileSync(tree.path(`devices/pci0000:00/${EDU}/driver_override`), 'pci-stub\n')
  const error = await t.throwsAsync(undo(id!, options), { instanceOf: ChangeError })
  t.regex(error.message, /driver_override has "pci-stub", neither nothing nor "vfio-pci"/)
  t.like(listChanges(options), [{ id: id!, state: 'interrupted' }])
  await undo(id!, { ...options, force: true })
  t.deepEqual(listChanges(options), [])
})

changeTest(
  'after a reboot the files of the disk alone are taken back',
  async (t, { tree, options, photograph }) => {
    const before = photograph()
    await apply(plan({ kind: 'bind', device: NVME, persist: true }, options), options)
    await options.io.write(tree.path('bus/pci/drivers/vfio-pci/unbind'), NVME)
    await options.io.write(tree.path(`bus/pci/devices/${NVME}/driver_override`), '')
    await options.io.write(tree.path('bus/pci/drivers_probe'), NVME)
    tree.file('proc/sys/kernel/random/boot_id', 'another')
    const count = options.io.written.length
    t.like(await undo(undefined, options), { rebooted: true })
    t.is(options.io.written.length, count)
    tree.file('proc/sys/kernel/random/boot_id', 'a2b0b4a4-6a0c-4c4e-9d9c-3f6f3a1f0001')
    t.deepEqual(photograph(), before)
  },
)

changeTest('later changes of the same device are undone first', async (t, { options }) => {
  const first = await apply(plan({ kind: 'bind', device: NVME }, options), options)
  const other = await apply(plan({ kind: 'bind', device: EDU }, options), options)
  const second = await apply(plan({ kind: 'unbind', device: NVME, to: 'none' }, options), options)
  const stands = await t.throwsAsync(undo(first.id!, options), { instanceOf: VfioError })
  t.is(stands.code, 'EBUSY')
  t.true(stands.remedy!.endsWith(`vfio undo ${second.id!} first.`))
  await undo(second.id!, options)
  await undo(first.id!, options)
  t.like(listChanges(options), [{ id: other.id! }])
  const gone = await t.throwsAsync(undo(first.id!, options), { instanceOf: VfioError })
  t.is(gone.remedy, `These can be undone: ${other.id!}`)
})

changeTest(
  'a signal that is aborted already is the error, and nothing is written',
  async (t, { options, photograph }) => {
    const before = photograph()
    const planned = plan({ kind: 'bind', device: NVME }, options)
    const aborted = await t.throwsAsync(apply(planned, { ...options, signal: AbortSignal.abort() }), {
      any: true,
    })
    t.is((aborted as Error | undefined)?.name, 'AbortError')
    const reason = new Error('not now')
    t.is(await t.throwsAsync(apply(planned, { ...options, signal: AbortSignal.abort(reason) })), reason)
    t.deepEqual(photograph(), before)
    t.deepEqual(listChanges(options), [])
  },
)

changeTest('an abort ends a change between two steps', async (t, { options, photograph }) => {
  const before = photograph()
  const controller = new AbortController()
  const error = await t.throwsAsync(
    apply(plan({ kind: 'bind', device: NVME }, options), {
      ...options,
      signal: controller.signal,
      onEvent: ({ phase, index }) => {
        if (phase === 'done' && index === 1) controller.abort(new Error('enough'))
      },
    }),
    { instanceOf: ChangeError, message: /^step 3: enough\. The steps before/ },
  )
  t.is(error.outcome, 'undone')
  t.deepEqual(photograph(), before)
})
