// A backend of another shape opens as a VfioDevice all the same: regions, interrupt, reset, features and migration.
import test from 'ava'

import { type EventFd, VfioError } from '../../../../ts/index.js'
import { ID, REGISTER, platformDevice } from '../../../fakes/platform-device.js'
import { until } from '../../support.js'

test('regions: registers that are words, and memory', (t) => {
  const { device, hardware } = platformDevice()
  t.is(device.info.bus, 'platform')
  const [registers, memory] = device.regions()
  t.deepEqual([registers?.name, memory?.name], ['region0', 'region1'])
  t.is(registers?.read32(REGISTER.id), ID)
  registers?.write32(REGISTER.scratch, 7)
  t.is(registers?.poll32(REGISTER.scratch, { equals: 7 }), 7)
  t.throws(() => registers?.read8(0), { instanceOf: VfioError, code: 'EINVAL' })
  t.throws(() => registers?.read32(16), { instanceOf: RangeError })
  memory?.write64(8, 0x1122_3344_5566_7788n)
  t.is(memory?.read16(12), 0x3344)
  const bytes = new Uint8Array(3)
  memory?.read(9, bytes)
  t.deepEqual([...bytes], [0x77, 0x66, 0x55])
  memory?.write(0, Uint8Array.of(1, 2))
  t.is(hardware.memory[1], 2)
  t.deepEqual([memory?.mmapAreas, memory?.faulted, memory?.counters.bulkBytes], [[], false, 5])
  t.throws(() => device.config, { message: /have no names/ })
  device[Symbol.dispose]()
  t.throws(() => memory?.read8(0), { instanceOf: VfioError, code: 'EBADF' })
})

test('its interrupt: enabled, heard, masked and let through', async (t) => {
  const { device, hardware } = platformDevice()
  const doorbell = (): void => {
    device.region(0).write32(REGISTER.doorbell, 1)
  }
  const [irq] = device.irqs()
  const [eventfd] = irq?.enable(1) as [EventFd]
  doorbell()
  doorbell()
  t.is(eventfd.read(), 1)
  irq?.unmask()
  irq?.trigger()
  t.is(eventfd.read(), 1)
  let heard = 0
  irq?.listen(() => heard++)
  doorbell()
  await until(() => heard === 1 && !hardware.masked)
  t.is(heard, 1)
  await device.close()
})

test('reset and features', async (t) => {
  const { device, hardware } = platformDevice()
  device.region(1).write8(5, 5)
  await device.reset()
  device.resetSync()
  t.is(device.region(1).read8(5), 0)
  t.is(device.region(0).read32(REGISTER.id), ID)
  t.is(hardware.resets, 2)
  t.deepEqual(device.features.supported().busMaster, { get: false, set: true })
  device.features.busMaster(true)
  t.true(hardware.busMaster)
  t.throws(
    () => {
      device.features.lowPower.enter()
    },
    { instanceOf: VfioError, code: 'ENOTTY' },
  )
  t.is(device.condition, 'ready')
  await device.close()
})

test('migration to another of its kind', async (t) => {
  const [source, target] = [platformDevice(), platformDevice()]
  source.device.region(1).write32(0x20, 0xbeef)
  const saved: Uint8Array[] = []
  for await (const chunk of source.device.migration?.save() ?? []) saved.push(chunk)
  t.is(saved.length, 1)
  t.is(source.device.migration?.state, 'stop')
  await target.device.migration?.restore(saved)
  await target.device.migration?.setState('running')
  t.is(target.device.region(1).read32(0x20), 0xbeef)
  await source.device.close()
  await target.device.close()
  t.deepEqual([source.hardware.resets, target.hardware.resets], [1, 0])
})
