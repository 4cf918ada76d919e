// The commands that change the host: what they show, and their exit statuses.
import { readFileSync, writeFileSync } from 'node:fs'
import { EDU, mdevHost, NIC, nicHost, NVME, UUID } from '../merged/change.js'
import { SimulatedKernel } from '../merged/kernel.js'
import { changeCliTest } from './changes.js'

changeCliTest(
  'bind shows each write as it is done, undo as it is taken back',
  async (t, { vfio, photograph }) => {
    const before = photograph()
    const bound = await vfio('bind', NVME)
    t.is(bound.err, '')
    t.is(bound.status, 0)
    t.is(
      bound.out,
      `bind ${NVME} to vfio-pci
 ok  ${NVME} > /bus/pci/drivers/nvme/unbind
      driver: nvme -> no driver  (nvme releases ${NVME})
 ok  vfio-pci > /bus/pci/devices/${NVME}/driver_override
      driver_override: nothing -> vfio-pci  (only vfio-pci may take ${NVME})
 ok  ${NVME} > /bus/pci/drivers_probe
      driver: no driver -> vfio-pci  (vfio-pci takes ${NVME})
done; to undo it: vfio undo 1
`,
    )
    const list = await vfio('undo', '--list')
    t.regex(
      list.out,
      /^ID +WHEN +STATE +WHAT\n1 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +applied +bind 0000:00:14\.0 to vfio-pci\n$/,
    )
    const undone = await vfio('undo')
    t.is(undone.status, 0)
    t.regex(
      undone.out,
      /^ <- +0000:00:14\.0 > .*drivers_probe\n[^]*undone: bind 0000:00:14\.0 to vfio-pci\n$/,
    )
    t.deepEqual(photograph(), before)
    t.is((await vfio('undo', '--list')).out, 'no changes to undo\n')
    const nothing = await vfio('undo')
    t.is(nothing.status, 1)
    t.regex(nothing.err, /There is no change to undo/)
  },
)

changeCliTest('a dry run shows the plan, and vfio apply makes it', async (t, { tree, vfio, photograph }) => {
  const before = photograph()
  const dry = await vfio('bind', NVME, '--dry-run')
  t.is(dry.status, 0)
  t.regex(dry.out, /^ {2}1\. 0000:00:14\.0 > \/bus\/pci\/drivers\/nvme\/unbind$/m)
  t.is((await vfio('plan', 'bind', NVME)).out, dry.out)
  const { out } = await vfio('plan', 'bind', NVME, '--json')
  t.deepEqual(photograph(), before)
  const file = tree.path('plan.json')
  writeFileSync(file, out.replaceAll('"/', `"${tree.root}/`))
  const applied = await vfio('apply', file, '--json')
  t.is(applied.status, 0, applied.err)
  t.like(JSON.parse(applied.out), {
    schema: 'vfio-change/1',
    outcome: 'applied',
    id: 1,
    seen: [null, 'vfio-pci', 'vfio-pci'],
  })
  // The host is another by now.
  const again = await vfio('apply', file)
  t.is(again.status, 1)
  t.regex(again.err, /has changed since this was planned/)
  t.like(JSON.parse((await vfio('undo', '--list', '--json')).out), {
    schema: 'vfio-changes/1',
    changes: [{ id: 1 }],
  })
  t.like(JSON.parse((await vfio('undo', '1', '--json')).out), {
    schema: 'vfio-undo/1',
    id: 1,
    rebooted: false,
  })
  t.is((await vfio('apply', tree.path('none.json'))).status, 1)
  writeFileSync(file, 'x')
  t.regex((await vfio('apply', file)).err, /plan\.json is not a plan/)
  t.is(readFileSync(file, 'utf8'), 'x')
})

changeCliTest(
  'exit statuses tell refused, undone, left and unconfirmed',
  async (t, { tree, vfio, faults, photograph }) => {
    tree.pci('0000:00:1c.0', { class: '0x060400', driver: 'pcieport', group: 8 })
    const refused = await vfio('bind', '0000:00:1c.0')
    t.is(refused.status, 1)
    t.regex(refused.err, /refused {2}0000:00:1c\.0 is a bridge\n +-> VFIO gives/)
    const path = tree.pci('0000:00:13.0', { class: '0x020000', driver: 'e1000e', group: 5 })
    tree.file(`${path}/net/eth0/flags`, '0x1003')
    tree.link('class/net/eth0', `${path}/net/eth0`)
    SimulatedKernel.drivers(tree.root, { nvme: ['1b36:0010'], e1000e: ['1234:11e8'] })
    const before = photograph()
    const warned = await vfio('bind', '0000:00:13.0')
    t.is(warned.status, 5)
    t.regex(warned.err, /warning {2}eth0 is up[^]*--yes/)
    t.deepEqual(photograph(), before)
    t.is((await vfio('bind', '0000:00:13.0', '--yes')).status, 0)
    await vfio('undo')
    faults({ deaf: ['drivers_probe'] })
    const undone = await vfio('bind', NVME)
    t.is(undone.status, 3)
    t.regex(undone.out, / ok [^]* <- /)
    t.deepEqual(photograph(), before)
    faults({ deaf: ['drivers_probe'], refuse: { 'nvme/bind': 'ENODEV' } })
    const left = await vfio('bind', NVME)
    t.is(left.status, 4)
    t.regex(left.err, /vfio undo \d+\n$/)
    faults({})
    // Whatever is done next names it.
    t.regex(
      (await vfio('bind', EDU)).err,
      /^an earlier change was interrupted \(bind .* to vfio-pci\): vfio undo \d+\n$/,
    )
    t.is((await vfio('undo')).status, 0)
    t.is((await vfio('undo')).status, 0)
    t.deepEqual(photograph(), before)
    t.is((await vfio('bind', EDU)).status, 0)
    t.regex((await vfio('bind', EDU)).out, /nothing to do: already done/)
  },
)

changeCliTest(
  'virtual functions and mediated devices, made, shown and taken back',
  async (t, { tree, vfio, photograph }) => {
    nicHost(tree)
    mdevHost(tree)
    const before = photograph()
    t.is((await vfio('sriov', 'set', NIC, '1')).status, 0)
    t.is(
      (await vfio('sriov', 'show')).out,
      `FUNCTION        DRIVER     VIRTUAL
0000:03:00.0    igb        1 of 7    host drivers leave new ones
  0000:03:00.1  no driver  group 21
`,
    )
    t.like(JSON.parse((await vfio('sriov', 'show', NIC, '--json')).out), {
      functions: [{ numVfs: 1, totalVfs: 7 }],
    })
    t.is((await vfio('sriov', 'show', NVME)).status, 1)
    t.is((await vfio('sriov', 'set', NIC, '9')).status, 2)
    t.is((await vfio('sriov', 'set', NIC, '3')).status, 5)
    t.is((await vfio('sriov', 'set', NIC, '3', '--yes', '--json')).status, 0)
    t.is((await vfio('mdev', 'create', 'mtty', 'mtty-1', '--uuid', UUID)).status, 0)
    t.is(
      (await vfio('mdev', 'types')).out,
      `PARENT  TYPE    NAME                LEFT  EXIST  API       DESCRIPTION
mtty    mtty-1  Single port serial  1     1      vfio-pci
`,
    )
    t.like(JSON.parse((await vfio('mdev', 'types', 'mtty', '--json')).out), { types: [{ id: 'mtty-1' }] })
    t.is((await vfio('mdev', 'types', 'mdpy')).status, 1)
    t.regex((await vfio('mdev', 'ls')).out, new RegExp(`^UUID[^]*\\n${UUID} +mtty +mtty-1`))
    t.like(JSON.parse((await vfio('mdev', 'ls', '--json')).out), { mdevs: [{ uuid: UUID }] })
    t.is((await vfio('mdev', 'rm', UUID)).status, 0)
    t.is((await vfio('mdev', 'rm', UUID)).status, 1)
    for (let count = 0; count < 4; count++) t.is((await vfio('undo')).status, 0)
    t.deepEqual(photograph(), before)
  },
)

changeCliTest(
  'what cannot be looked at is shown by a dry run, and done with --force alone',
  async (t, { tree, vfio, photograph }) => {
    const disk = `devices/pci0000:00/${NVME}/nvme/nvme0/nvme0n1`
    tree.file(`${disk}/dev`, '259:0')
    tree.link('class/block/nvme0n1', disk)
    const before = photograph()
    const told =
      /^unseen {3}whether anything holds nvme0n1 .*: there is no node \/dev\/nvme0n1\n.*--force continues anyway$/m
    const dry = await vfio('bind', NVME, '--dry-run')
    t.is(dry.status, 0)
    t.regex(dry.out, /^ {2}1\. 0000:00:14\.0 > \/bus\/pci\/drivers\/nvme\/unbind$/m)
    t.regex(dry.out, told)
    t.like(JSON.parse((await vfio('bind', NVME, '--dry-run', '--json')).out), {
      unseen: [{ what: `whether anything holds nvme0n1 (${NVME})` }],
    })
    const refused = await vfio('bind', NVME, '--yes')
    t.is(refused.status, 1)
    t.regex(refused.err, told)
    t.regex(refused.err, /--force continues anyway; nothing was changed\n$/)
    t.like(JSON.parse((await vfio('bind', NVME, '--json')).out), { outcome: 'refused', id: null })
    t.deepEqual(photograph(), before)
    t.is((await vfio('bind', NVME, '--force')).status, 0)
    const kept = await vfio('undo')
    t.is(kept.status, 1)
    t.regex(kept.err, /continue anyway with force/)
    t.is((await vfio('undo', '--force')).status, 0)
    t.deepEqual(photograph(), before)
  },
)

changeCliTest('unbind says that no driver of the host has taken the device', async (t, { vfio }) => {
  t.is((await vfio('bind', EDU)).status, 0)
  const unbound = await vfio('unbind', EDU)
  t.is(unbound.status, 0)
  t.regex(unbound.out, /no host driver took it: it has no driver\ndone; to undo it: vfio undo 2\n$/)
  t.is((await vfio('bind', NVME)).status, 0)
  t.notRegex((await vfio('unbind', NVME)).out, /no driver of the host/)
})
