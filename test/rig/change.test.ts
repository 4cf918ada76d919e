// Drivers of real devices changed as planned, refused while a device is open, and taken back.
import test from 'ava'
import { VfioError } from '../../ts/errors.js'
import { KernelIo } from '../../ts/host/io.js'
import { VfioDevice } from '../../ts/index.js'
import { apply, ChangeError, plan, undo } from '../../ts/merged/index.js'
import { killedAt, picture, vfio } from './changes.js'
import { Companion, devices, driverOf, Edu, groupOf, until, writeSysfs } from './devices.js'

const { edu, edu2, e1000e, bridgedEdu1, bridgedRng } = devices
/** For another process to come up in an emulated processor that others use too. */
const PATIENCE = 240_000

test.serial('a device goes from vfio-pci and comes back, byte for byte', async (t) => {
  t.timeout(600_000)
  const before = picture()
  const planned = plan({ kind: 'unbind', device: edu, to: 'none' })
  t.deepEqual(picture(), before)
  const { id, seen } = await apply(planned)
  t.deepEqual(seen, [null, null])
  t.is(driverOf('edu'), null)
  await undo(id!)
  t.deepEqual(picture(), before)
  const device = await Edu.open()
  t.is(device.factorial(5), 120)
  await device.device.close()
})

test.serial('unbind gives a device to its host driver, bind takes it again', async (t) => {
  t.timeout(600_000)
  const before = picture()
  const unbound = await vfio('unbind', e1000e)
  t.is(unbound.status, 0, unbound.err)
  // The built kernel has no driver for it.
  t.true(['e1000e', null].includes(driverOf('e1000e')))
  const bound = await vfio('bind', e1000e, '--yes', '--persist')
  t.is(bound.status, 0, bound.err)
  t.is(driverOf('e1000e'), 'vfio-pci')
  const device = await VfioDevice.open(e1000e)
  t.true(device.info.resettable)
  await device.close()
  t.is((await vfio('undo')).status, 0)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
})

test.serial('a device that is open is refused, here and elsewhere, and nothing is written', async (t) => {
  t.timeout(600_000)
  const before = picture()
  const own = await Edu.open('edu')
  const mine = await t.throwsAsync(apply(plan({ kind: 'unbind', device: edu })), { instanceOf: VfioError })
  t.like(mine, { code: 'EBUSY', reason: 'in-use' })
  t.regex(mine.message, /this process has .* open/)
  await own.device.close()
  const other = new Companion(`
    const device = await vfio.VfioDevice.open(${JSON.stringify(edu)}, { watch: false })
    say('open')
    setTimeout(() => device.close(), 600_000)`)
  t.teardown(() => other.end())
  t.is(await other.said(PATIENCE), 'open')
  const theirs = await vfio('unbind', edu)
  t.is(theirs.status, 1)
  t.regex(theirs.err, /process \d+ \(.+\) has .*vfio.* open/)
  await other.end()
  t.deepEqual(picture(), before)
  t.is((await vfio('unbind', edu)).status, 0)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
})

test.serial('a write that sleeps in the kernel holds nobody but its own process', async (t) => {
  t.timeout(600_000)
  const holder = new Companion(`
    const device = await vfio.VfioDevice.open(${JSON.stringify(edu2)}, { watch: false })
    say('open')
    setTimeout(() => device.close(), 600_000)`)
  t.teardown(() => holder.end())
  await holder.said(PATIENCE)
  const io = new KernelIo({ timeout: 2_000 })
  let ticks = 0
  const clock = setInterval(() => ticks++, 50)
  const error = await t.throwsAsync(io.write('/sys/bus/pci/drivers/vfio-pci/unbind', edu2), {
    instanceOf: VfioError,
  })
  clearInterval(clock)
  t.like(error, { code: 'ETIMEDOUT', reason: 'timeout' })
  t.true(ticks > 10, `${ticks}`)
  await holder.end()
  await until(() => driverOf('edu2') === null, 'the unbinding that slept')
  await io.write('/sys/bus/pci/drivers_probe', edu2)
  t.is(await io.look({ how: 'link', path: `/sys/bus/pci/devices/${edu2}/driver` }), 'vfio-pci')
  await io.close()
})

test.serial('a driver that does not take the device: everything is as before', async (t) => {
  t.timeout(600_000)
  const before = picture()
  // virtio-pci finds no virtio device in an edu; the kernel says so in its log alone.
  const error = await t.throwsAsync(apply(plan({ kind: 'bind', device: edu, driver: 'virtio-pci' })), {
    instanceOf: ChangeError,
  })
  t.is(error.outcome, 'undone', error.message)
  t.deepEqual(picture(), before)
  t.is((await vfio('bind', edu, '--driver', 'virtio-pci')).status, 3)
  t.deepEqual(picture(), before)
})

test.serial('a group is given as a whole, opened, and taken back', async (t) => {
  t.timeout(600_000)
  const before = picture()
  const alone = plan({ kind: 'bind', device: bridgedEdu1 })
  t.deepEqual(alone.steps, [])
  t.deepEqual(
    alone.neighbours.filter(({ blocks }) => blocks),
    [{ name: bridgedRng, driver: 'virtio-pci', blocks: true }],
  )
  t.regex(alone.notes.join(), new RegExp(`group ${groupOf('bridgedEdu1')} cannot be opened`))
  const { id } = await apply(plan({ kind: 'bind', device: bridgedEdu1, group: true }))
  t.is(driverOf('bridgedRng'), 'vfio-pci')
  const opened = await Edu.open('bridgedEdu1')
  t.is(opened.factorial(4), 24)
  await opened.device.close()
  await undo(id!)
  t.deepEqual(picture(), before)
})

test.serial('killed between two writes, undone by another process', async (t) => {
  t.timeout(600_000)
  const before = picture()
  t.is(await killedAt('after-write:0', 'unbind', edu2, '--no-driver'), 'SIGKILL')
  t.is(driverOf('edu2'), null)
  const refused = await vfio('bind', edu2)
  t.regex(refused.err, /was interrupted: vfio undo \d+/)
  const undone = await vfio('undo')
  t.is(undone.status, 0, undone.err)
  t.deepEqual(picture(), before)
})

test.serial('a file that root may not write has a remedy', async (t) => {
  t.timeout(600_000)
  const io = new KernelIo()
  const error = await t.throwsAsync(io.write(`/sys/bus/pci/devices/${edu}/vendor`, '1'), {
    instanceOf: VfioError,
  })
  t.true(['EACCES', 'EIO', 'EPERM'].includes(error.code), error.code)
  await t.throwsAsync(io.write(`/sys/bus/pci/devices/${edu}/no-such`, '1'), { code: 'ENOENT' })
  t.is(await io.look({ how: 'text', path: `/sys/bus/pci/devices/${edu}/no-such` }), null)
  await io.close()
  await writeSysfs(`/sys/bus/pci/devices/${edu}/driver_override`, 'vfio-pci')
})
