// Resets of real devices, and the device's state behind them.
import test from 'ava'

import { VfioError } from '../../ts/index.js'
import { EDU_ID, withDevice } from './devices.js'

/** e1000e: Receive Address Low 0. The kernel resets this one through its power state, which QEMU's registers outlive. */
const RAL0 = 0x5400
/** nvme: Controller Capabilities, Interrupt Mask Set and Controller Configuration, of which a reset clears the latter two. */
const CAP = 0
const INTMS = 0x0c
const CC = 0x14
/** Entry sizes of the queues, without the bit that turns the controller on. */
const ENTRY_SIZES = 0x0046_0000

for (const form of ['reset', 'resetSync'] as const) {
  test.serial(`e1000e: ${form}, and everything works on`, async (t) => {
    await withDevice('e1000e', async (device) => {
      t.true(device.info.resettable)
      const bar0 = device.region('bar0')
      const address = bar0.read32(RAL0)
      await device[form]()
      t.true(device.config.present)
      t.false(bar0.faulted)
      bar0.write32(RAL0, 0x0102_0304)
      t.is(bar0.read32(RAL0), 0x0102_0304)
      bar0.write32(RAL0, address)
      t.is(device.config.vendorId, 0x8086)
      t.true(device.config.command.memorySpace)
    })
  })

  test.serial(`nvme: ${form}, and everything works on`, async (t) => {
    await withDevice('nvme', async (device) => {
      t.true(device.info.resettable)
      const bar0 = device.region('bar0')
      const cap = bar0.read64(CAP)
      bar0.write32(INTMS, 5)
      bar0.write32(CC, ENTRY_SIZES)
      t.is(bar0.read32(INTMS), 5)
      t.is(bar0.read32(CC), ENTRY_SIZES)
      await device[form]()
      t.is(bar0.read32(INTMS), 0)
      t.is(bar0.read32(CC), 0)
      t.is(bar0.read64(CAP), cap)
      bar0.write32(CC, ENTRY_SIZES)
      t.is(bar0.read32(CC), ENTRY_SIZES)
      const [vector] = device.irq('msix').enable(2)
      device.irq('msix').trigger(0)
      t.is(vector?.read(), 1)
      const buffer = await device.addressSpace.allocate(4096)
      await device[form]()
      t.is(buffer.buffer.byteLength, 4096, 'mappings stay')
      t.is(bar0.read64(CAP), cap)
    })
  })

  test.serial(`edu has no reset: ${form} says so, and nothing breaks`, async (t) => {
    await withDevice('edu', async (device) => {
      t.false(device.info.resettable)
      const error = await t.throwsAsync(async () => device[form](), { instanceOf: VfioError })
      t.is(error.code, 'EINVAL')
      t.is(error.syscall, 'VFIO_DEVICE_RESET')
      t.is(error.subject, device.name)
      t.regex(error.remedy ?? '', /no reset of its own/)
      t.is(device.region('bar0').read32(0), EDU_ID)
    })
  })
}

test.serial('calls at the same time as a reset', async (t) => {
  await withDevice('nvme', async (device) => {
    const bar0 = device.region('bar0')
    const cap = bar0.read64(CAP)
    const resets = Promise.all([device.reset(), device.reset()])
    const { addressSpace } = device
    await Promise.all([addressSpace.allocate(4096), addressSpace.allocate(4096)])
    await resets
    t.is(bar0.read64(CAP), cap)
  })
})
