// What is kept for driverctl, read by driverctl itself: it binds the device as we did. On Debian's kernel: driverctl wants
// a module of the driver's name, or loads one, and the built kernel has none.
import { execFileSync } from 'node:child_process'
import { existsSync, symlinkSync } from 'node:fs'
import test from 'ava'
import { picture, vfio } from '../changes.js'
import { devices, driverOf, rebind, writeSysfs } from '../devices.js'

test.serial('driverctl binds the device that was kept', async (t) => {
  t.timeout(600_000)
  const { edu } = devices
  // driverctl calls it by this path; the rig has its own, in case the host has none.
  if (!existsSync('/sbin/modprobe')) symlinkSync('/run/rig/bin/modprobe', '/sbin/modprobe')
  t.teardown(async () => {
    if (driverOf('edu') !== 'vfio-pci') await rebind('edu', 'vfio-pci')
  })
  const before = picture()
  t.is((await vfio('unbind', edu, '--no-driver')).status, 0)
  const bound = await vfio('bind', edu, '--persist')
  t.is(bound.status, 0, bound.err)
  // As after a reboot: the file is there, the override is not.
  await writeSysfs('/sys/bus/pci/drivers/vfio-pci/unbind', edu)
  await writeSysfs(`/sys/bus/pci/devices/${edu}/driver_override`, '')
  t.is(driverOf('edu'), null)
  execFileSync('driverctl', ['load-override', edu])
  t.is(driverOf('edu'), 'vfio-pci')
  t.regex(
    execFileSync('driverctl', ['list-overrides'], { encoding: 'utf8' }),
    new RegExp(`^${edu} vfio-pci$`, 'm'),
  )
  t.is((await vfio('undo')).status, 0)
  t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
})
