// Who has a device after `drivers_probe`, and who should: drivers that only hold devices give them back, one that takes a
// device again is named, and the driver that is made for it gets it. And whether anybody reads what is kept.

import { rmSync, symlinkSync } from 'node:fs'
import { VfioError } from '../../../ts/errors.js'
import { apply, ChangeError, plan, undo } from '../../../ts/merged/index.js'
import { changeTest, NVME } from './change.js'
import { SimulatedKernel } from './kernel.js'

const DEVICE = '0000:00:15.0'
const ID = '8086:10d3'
const MODALIAS = 'pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00'

/** What this kernel adds for a driver of VFIO, and a tree of a test's own need not have. */
const withoutNodes = (portrait: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(portrait).filter(([name]) => !name.includes('/vfio-dev')))

for (const [holder, title] of [
  ['pci-stub', 'unbind takes a device back from pci-stub'],
  ['pciback', 'unbind takes a device back from pciback'],
  ['xen-pciback', 'unbind takes a device back from xen-pciback'],
  ['uio_pci_generic', 'unbind takes a device back from uio_pci_generic'],
  ['igb_uio', 'unbind takes a device back from igb_uio'],
  ['mlx5_vfio_pci', 'unbind takes a device back from mlx5_vfio_pci'],
  ['hisi-acc-vfio-pci', 'unbind takes a device back from hisi-acc-vfio-pci'],
  ['nvgrace-gpu-vfio-pci', 'unbind takes a device back from nvgrace-gpu-vfio-pci'],
] as const) {
  changeTest(title, async (t, { tree, options, portrait }) => {
    SimulatedKernel.drivers(tree.root, { e1000e: [ID], [holder]: [] })
    tree.pci(DEVICE, { vendor: '0x8086', device: '0x10d3', driver: holder, group: 9 })
    const before = withoutNodes(portrait())
    // By its ids, without an override.
    const planned = plan({ kind: 'unbind', device: DEVICE }, options)
    t.deepEqual(
      planned.steps.map(({ old, new: after }) => [old, after]),
      [
        [holder, null],
        [null, '*'],
      ],
    )
    t.deepEqual((await apply(planned, options)).seen, [null, 'e1000e'])
    // There it belongs.
    t.deepEqual(plan({ kind: 'unbind', device: DEVICE }, options).steps, [])
    SimulatedKernel.drivers(tree.root, { e1000e: [ID], [holder]: [ID] })
    await undo(undefined, options)
    SimulatedKernel.drivers(tree.root, { e1000e: [ID], [holder]: [] })
    t.deepEqual(withoutNodes(portrait()), before)
  })
}

for (const [holder, list, title] of [
  ['pci-stub', 'remove_id', 'pci-stub that takes the device again by its list is a failure, and named'],
  ['vfio-pci', 'remove_id', 'vfio-pci that takes the device again by its list is a failure, and named'],
  ['pciback', 'remove_slot', 'pciback that takes the device again by its list is a failure, and named'],
] as const) {
  changeTest(title, async (t, { tree, options, portrait }) => {
    // In the order of this kernel it comes before the driver of the host.
    SimulatedKernel.drivers(tree.root, { zz: [ID], [holder]: [ID] })
    tree.pci(DEVICE, { vendor: '0x8086', device: '0x10d3', driver: holder, group: 9 })
    const before = withoutNodes(portrait())
    const error = await t.throwsAsync(apply(plan({ kind: 'unbind', device: DEVICE }, options), options), {
      instanceOf: ChangeError,
    })
    t.is(error.outcome, 'undone')
    t.regex(error.message, new RegExp(`${holder} took the device again.*/${holder}/${list}`))
    t.deepEqual(withoutNodes(portrait()), before)
  })
}

changeTest(
  'another driver that gets the device meanwhile is named',
  async (t, { tree, options, portrait }) => {
    SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'], 'pci-stub': ['1b36:0010'] })
    const before = withoutNodes(portrait())
    // Somebody else's tool clears the override before the device is asked for, and the stub has its id.
    const io = new SimulatedKernel(tree.root)
    const asked = {
      ...options,
      io,
      onEvent: async ({ phase, index }: { phase: string; index: number }) => {
        if (phase === 'before-write' && index === 2)
          await io.write(tree.path(`bus/pci/devices/${NVME}/driver_override`), 'pci-stub')
        if (phase === 'before-undo' && index === 2)
          await io.write(tree.path(`bus/pci/devices/${NVME}/driver_override`), 'vfio-pci')
      },
    }
    const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: NVME }, asked), asked), {
      instanceOf: ChangeError,
    })
    t.regex(error.message, /pci-stub took the device instead of vfio-pci/)
    t.is(error.cause instanceof VfioError && error.cause.code, 'EIO')
    t.is(error.outcome, 'undone')
    t.deepEqual(withoutNodes(portrait()), before)
  },
)

changeTest(
  'the one driver that is made for a device gets it, whoever else has its id',
  async (t, { tree, options, portrait }) => {
    SimulatedKernel.drivers(tree.root, { e1000e: [ID], 'pci-stub': [ID], 'vfio-pci': [ID] })
    tree.pci(DEVICE, {
      vendor: '0x8086',
      device: '0x10d3',
      driver: 'vfio-pci',
      group: 9,
      files: { modalias: MODALIAS },
    })
    tree.file(
      'lib/modules/6.1.0-18-amd64/modules.alias',
      [
        'alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e',
        'alias pci:v00008086d000010D3sv*sd*bc*sc*i* vfio_pci',
        'alias pci:v000010ECd*sv*sd*bc*sc*i* r8169',
      ].join('\n'),
    )
    const unloaded = plan({ kind: 'unbind', device: DEVICE }, options)
    t.regex(unloaded.notes.join(), /no driver for 0000:00:15\.0 is loaded.*modprobe e1000e$/)
    t.is(unloaded.steps.at(-1)?.new, '*')
    tree.link('module/e1000e/drivers/pci:e1000e', 'bus/pci/drivers/e1000e')
    const before = withoutNodes(portrait())
    const planned = plan({ kind: 'unbind', device: DEVICE }, options)
    t.like(planned.steps.at(-1), { new: 'e1000e', write: { file: tree.path('bus/pci/drivers/e1000e/bind') } })
    const { id } = await apply(planned, options)
    t.regex(portrait()[`devices/pci0000:00/${DEVICE}/driver`]!, /e1000e$/)
    await undo(id!, options)
    t.deepEqual(withoutNodes(portrait()), before)
  },
)

changeTest(
  'a driver that is made for the device and does not take it is a failure',
  async (t, { tree, faulty, portrait }) => {
    SimulatedKernel.drivers(tree.root, { e1000e: [ID] })
    tree.pci(DEVICE, {
      vendor: '0x8086',
      device: '0x10d3',
      driver: 'vfio-pci',
      group: 9,
      files: { modalias: MODALIAS, driver_override: 'vfio-pci' },
    })
    tree.file(
      'lib/modules/6.1.0-18-amd64/modules.builtin.modinfo',
      'e1000e.alias=pci:v00008086d000010D3sv*sd*bc*sc*i*\0',
    )
    tree.link('module/e1000e/drivers/pci:e1000e', 'bus/pci/drivers/e1000e')
    const before = withoutNodes(portrait())
    const bad = faulty({ refuse: { 'e1000e/bind': 'ENODEV' } })
    const error = await t.throwsAsync(apply(plan({ kind: 'unbind', device: DEVICE }, bad), bad), {
      instanceOf: ChangeError,
    })
    t.is(error.outcome, 'undone')
    t.regex(error.message, /e1000e\/bind.*refused the device/)
    t.deepEqual(withoutNodes(portrait()), before)
  },
)

changeTest(
  'what nobody would read after a reboot is a warning with the package',
  async (t, { tree, options }) => {
    const warnings = (): readonly string[] =>
      plan({ kind: 'bind', device: NVME, persist: true }, options).warnings
    const rule = tree.path('usr/lib/udev/rules.d/05-driverctl.rules')
    t.deepEqual(warnings(), [])
    // Masked, as udev has it.
    tree.dir('etc/udev/rules.d')
    symlinkSync('/dev/null', tree.path('etc/udev/rules.d/05-driverctl.rules'))
    t.regex(warnings().join(), /nothing on this host reads .*driverctl.* is masked.*only until the next boot/)
    rmSync(tree.path('etc/udev/rules.d/05-driverctl.rules'))
    rmSync(rule)
    t.regex(warnings().join(), /driverctl is not installed.*install the package driverctl$/)
    t.deepEqual(plan({ kind: 'bind', device: NVME }, options).warnings, [])
    tree.file('lib/udev/rules.d/05-driverctl.rules', 'ACTION=="add"')
    t.deepEqual(warnings(), [])
  },
)

changeTest(
  'a mediated device that nobody would make again is a warning too',
  async (t, { tree, options }) => {
    const { mdevHost } = await import('./change.js')
    mdevHost(tree)
    const warnings = (): readonly string[] =>
      plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1', persist: true }, options).warnings
    t.deepEqual(warnings(), [])
    rmSync(tree.path('usr/lib/udev/rules.d/60-mdevctl.rules'))
    t.regex(warnings().join(), /mdevctl is not installed/)
  },
)
