// What `vfio ls` says can be opened is what opens, and what the machine is taken for is what it is.
import { existsSync } from 'node:fs'
import test from 'ava'
import type { ListedDevice } from '../../ts/cli/output.js'
import { run } from '../../ts/cli/program.js'
import { readMachine } from '../../ts/host/machine.js'
import { noIommu } from '../../ts/host/remedies.js'
import { VfioDevice } from '../../ts/index.js'
import { rig } from './devices.js'

async function listed(): Promise<Map<string, ListedDevice['open']>> {
  let out = ''
  const status = await run(['ls', '--json'], {
    host: {},
    out: (text) => (out += text),
    redraw: () => undefined,
    outBytes: () => undefined,
    err: () => undefined,
    color: false,
    columns: null,
    uid: 0,
    onInterrupt: () => () => undefined,
  })
  if (status !== 0) throw new Error(`vfio ls ended with ${status}`)
  const { devices } = JSON.parse(out) as { devices: ListedDevice[] }
  return new Map(devices.map(({ name, open }) => [name, open]))
}

test.serial('ls says yes to what nobody has, and names a group that is in use', async (t) => {
  const { edu, edu2 } = rig.devices
  const yes = { possible: true, tried: true, why: null }
  const before = await listed()
  t.like(before.get(edu), yes)
  const open = [...before].filter(([, each]) => each.possible).map(([name]) => name)
  t.true(open.length >= 4)
  // Looking leaves nothing behind: each of them opens.
  for (const name of open) await (await VfioDevice.open(name)).close()
  const device = await VfioDevice.open(edu)
  try {
    t.like((await listed()).get(edu), { possible: false, tried: true, reason: 'group-busy' })
    t.like((await listed()).get(edu2), yes)
    // What looked at it took nothing from who has it.
    t.is(device.region('bar0').read32(0) & 0xff, 0xed)
  } finally {
    await device.close()
  }
  t.like((await listed()).get(edu), yes)
})

test.serial('the rig is known as a guest of QEMU, with an IOMMU or without', (t) => {
  const machine = readMachine()
  // A kernel that does not show what its firmware calls the machine leaves the processor's word that it is one of somebody's.
  const hypervisor = existsSync('/sys/class/dmi/id') ? 'qemu' : 'unknown'
  t.like(machine, { architecture: 'x86', hypervisor, groups: true })
  t.true(machine.modules.vfio)
  t.true(machine.vfio.container)
  t.regex(
    noIommu({ ...machine, asked: null }),
    /administrator (of this virtual machine must add one|must give it an IOMMU)/,
  )
})
