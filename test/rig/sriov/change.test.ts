// An nvme whose physical function stays with the host while a virtual one is planned, made, given to VFIO, opened, and all of
// it taken back: by undo, and after SIGKILL at every step.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import test from 'ava'
import { VfioDevice } from '../../../ts/index.js'
import { type MergedReport, mergedReport } from '../../../ts/merged/index.js'
import { killedAt, picture, vfio } from '../changes.js'
import { rig, until, writeSysfs } from '../devices.js'

const pf = rig.devices.sriov!
const path = `/sys/bus/pci/devices/${pf}`
const controller = readdirSync(`${path}/nvme`)[0]!

/** Interrupts of the controller's admin queue: each is the device answering a command. */
function answers(): number {
  const line = readFileSync('/proc/interrupts', 'utf8')
    .split('\n')
    .find((each) => each.includes(`${controller}q0`))
  return (line ?? '')
    .split(/\s+/)
    .slice(2, 4)
    .map(Number)
    .reduce((sum, each) => sum + (each || 0), 0)
}

/** The host's driver asks the controller, which answers. */
async function hostUsesIt(): Promise<boolean> {
  const before = answers()
  await writeSysfs(`/sys/class/nvme/${controller}/rescan_controller`, '1')
  await until(() => answers() > before, 'an answer of the controller')
  return readFileSync(`/sys/class/nvme/${controller}/state`, 'utf8').trim() === 'live'
}

test.serial(
  'a virtual function is planned, made, bound, opened and undone while the host uses the physical one',
  async (t) => {
    t.timeout(600_000)
    const before = picture()
    t.is(basename(readlinkSync(`${path}/driver`)), 'nvme')
    t.true(await hostUsesIt())
    const planned = await vfio('plan', 'sriov', 'set', pf, '2')
    t.is(planned.status, 0, planned.err)
    t.regex(planned.out, /sriov_drivers_autoprobe: 1 -> 0/)
    t.regex(planned.out, /sriov_numvfs: 0 -> 2/)
    t.deepEqual(picture(), before)

    const made = await vfio('sriov', 'set', pf, '2')
    t.is(made.status, 0, made.err)
    const vf = basename(readlinkSync(`${path}/virtfn0`))
    t.false(existsSync(`/sys/bus/pci/devices/${vf}/driver`))
    const bound = await vfio('bind', vf)
    t.is(bound.status, 0, bound.err)

    const asked = await vfio('merged', '--hooks', '--json')
    t.is(asked.status, 0, asked.err)
    const { devices } = JSON.parse(asked.out) as MergedReport
    const shared = devices.find(({ name }) => name === pf)
    t.is(shared?.merged.state, 'merged')
    t.deepEqual(
      shared?.hooks.map(({ hook, answer }) => [hook, answer]),
      [
        ['irqfd', 'yes'],
        ['ioeventfd', 'yes'],
        ['level', 'no'],
      ],
    )
    for (const { why } of shared?.hooks ?? []) t.true(why.endsWith(`read from ${vf}`), why)

    const device = await VfioDevice.open(vf)
    t.is(device.info.bus, 'pci')
    t.true(device.irq('msix').count > 0)
    t.true(await hostUsesIt())
    // Everything that would take it away is refused, with the reason.
    for (const args of [['sriov', 'set', pf, '0', '--yes'], ['unbind', vf], ['undo']]) {
      const refused = await vfio(...args)
      t.is(refused.status, 1, args.join(' '))
      t.regex(refused.err, /open/, args.join(' '))
    }
    const report = mergedReport().devices.find(({ name }) => name === pf)
    t.like(report, { framework: 'sriov', merged: { state: 'merged' }, vfs: { active: 2 } })
    await device.close()

    t.is((await vfio('undo')).status, 0)
    t.is((await vfio('undo')).status, 0)
    t.deepEqual(picture(), before)
    t.true(await hostUsesIt())
  },
)

test.serial('another number goes through 0, and what the old ones had comes back', async (t) => {
  t.timeout(600_000)
  const before = picture()
  t.is((await vfio('sriov', 'set', pf, '2')).status, 0)
  const vf = basename(readlinkSync(`${path}/virtfn1`))
  t.is((await vfio('bind', vf)).status, 0)
  const two = picture()
  const one = await vfio('sriov', 'set', pf, '1', '--yes')
  t.is(one.status, 0, one.err)
  t.is(readFileSync(`${path}/sriov_numvfs`, 'utf8').trim(), '1')
  const back = await vfio('undo')
  t.is(back.status, 0, back.err)
  t.deepEqual(picture(), two)
  t.is((await vfio('undo')).status, 0)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
})

test.serial('killed at every step, undone every time', async (t) => {
  t.timeout(600_000)
  const before = picture()
  for (const point of ['before-write:0', 'after-write:0', 'before-write:1', 'after-write:1', 'done:1']) {
    t.is(await killedAt(point, 'sriov', 'set', pf, '2'), 'SIGKILL', point)
    const undone = await vfio('undo')
    t.is(undone.status, 0, `${point}: ${undone.err}`)
    t.deepEqual(picture(), before, point)
  }
  t.is((await vfio('sriov', 'set', pf, '2')).status, 0)
  t.is(await killedAt('after-undo:1', 'undo'), 'SIGKILL')
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
  t.true(await hostUsesIt())
})

test.serial('more than there are is an argument out of range', async (t) => {
  t.timeout(600_000)
  const { status, err } = await vfio('sriov', 'set', pf, '3')
  t.is(status, 2)
  t.regex(err, /from 0 to 2, not 3/)
})
