// The kernel asks for a device back, because another process unbinds it.
import { existsSync } from 'node:fs'
import test from 'ava'

import { devices, driverOf, EDU_ID, open, until, writeSysfs } from './devices.js'

const UNBIND = '/sys/bus/pci/drivers/vfio-pci/unbind'

async function bindAgain(): Promise<void> {
  if (driverOf('edu2') === null) await writeSysfs('/sys/bus/pci/drivers_probe', devices.edu2)
  if (driverOf('edu2') !== 'vfio-pci') throw new Error(`edu2 is on ${String(driverOf('edu2'))}`)
}

test.afterEach.always(bindAgain)

test.serial('onRequest is called, and the unbind goes on once the device is closed', async (t) => {
  const device = await open('edu2')
  const bar0 = device.region('bar0')
  t.is(bar0.read32(0), EDU_ID)
  let asked = 0
  device.onRequest = (which) => {
    t.is(which, device)
    asked++
  }
  let unbound = false
  const unbinding = writeSysfs(UNBIND, devices.edu2).then(() => (unbound = true))
  await until(() => asked > 0, 'the request')
  t.is(bar0.read32(0), EDU_ID, 'the device is ours until it is closed')
  t.false(unbound)
  await device.close()
  await unbinding
  t.is(driverOf('edu2'), null)
  await bindAgain()
  const again = await open('edu2')
  t.is(again.region('bar0').read32(0), EDU_ID)
  await again.close()
})

test.serial('without a handler the device is closed, with a warning', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error): unknown => warnings.push(warning)
  process.on('warning', onWarning)
  const device = await open('edu2')
  t.is(device.region('bar0').read32(0), EDU_ID)
  await writeSysfs(UNBIND, devices.edu2)
  process.off('warning', onWarning)
  t.true(device.closed)
  t.deepEqual(
    warnings.map(({ name }) => name),
    ['VfioRequestWarning'],
  )
  t.regex(warnings[0]?.message ?? '', new RegExp(devices.edu2))
  t.is(driverOf('edu2'), null)
  t.true(existsSync(`/sys/bus/pci/devices/${devices.edu2}`))
})

test.serial('mapped registers, interrupts and memory in use do not hold the unbind up', async (t) => {
  const device = await open('edu2')
  device.config.command.busMaster = true
  device.irq('msi').listen(() => undefined)
  const buffer = await device.addressSpace.allocate(1 << 16)
  const bytes = new Uint8Array(buffer.buffer)
  device.region('bar0').read32(0)
  device.onRequest = (which) => which.close()
  await writeSysfs(UNBIND, devices.edu2)
  t.true(device.closed)
  t.is(bytes.length, 0)
})
