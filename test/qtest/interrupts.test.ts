// A device's interrupts in stock QEMU: the pin's line until the guest has handled it, MSI, MSI-X with masked vectors.
import test from 'ava'

import { eventually, msixOf, running } from './served.js'

const MESSAGES = 0x20_0000

test('MSI-X: each vector writes its own message', async (t) => {
  const all = await running(t, { regions: { bar0: { size: 0x1000, plain: true } }, irqs: { msix: 4 } })
  const { device, guest } = all
  const msix = await msixOf(all, 1)
  t.is(await msix.size(), 4)
  for (let vector = 0; vector < 4; vector++) await msix.route(vector, MESSAGES + 4 * vector, 0x100 + vector)
  await msix.enable()
  t.is(device.interruptMode, 'msix')
  device.raise('msix', 2)
  t.true(await eventually(async () => (await guest.read32(MESSAGES + 8)) === 0x102))
  t.is(await guest.read32(MESSAGES), 0)
  device.raise('msix', 0)
  t.true(await eventually(async () => (await guest.read32(MESSAGES)) === 0x100))
  t.is(await guest.read32(MESSAGES + 4), 0)
})

test('MSI-X: a vector that is masked waits, and comes when it is not any more', async (t) => {
  const all = await running(t, { regions: { bar0: { size: 0x1000, plain: true } }, irqs: { msix: 4 } })
  const { device, guest } = all
  const msix = await msixOf(all, 1)
  for (let vector = 0; vector < 4; vector++) await msix.route(vector, MESSAGES + 4 * vector, 1)
  await msix.enable()
  await msix.mask(3)
  device.raise('msix', 3)
  device.raise('msix', 1)
  t.true(await eventually(async () => (await guest.read32(MESSAGES + 4)) === 1))
  t.is(await guest.read32(MESSAGES + 12), 0)
  await msix.mask(3, false)
  t.true(await eventually(async () => (await guest.read32(MESSAGES + 12)) === 1))
})

test('MSI-X: raised before the driver has it on, it is pending, and comes with the eventfd', async (t) => {
  const all = await running(t, { regions: { bar0: { size: 0x1000, plain: true } }, irqs: { msix: 2 } })
  const { device, guest } = all
  const msix = await msixOf(all, 1)
  device.raise('msix', 1)
  await msix.route(0, MESSAGES, 1)
  await msix.route(1, MESSAGES + 4, 2)
  await msix.enable()
  t.true(await eventually(async () => (await guest.read32(MESSAGES + 4)) === 2))
})

test('MSI: its message is a write too', async (t) => {
  const { device, guest, pci } = await running(t, {
    regions: { bar0: { size: 0x1000, plain: true } },
    irqs: { msi: 1 },
  })
  const at = (await pci.capability(0x05)) ?? 0
  const wide = ((await pci.config16(at + 2)) & 0x80) !== 0
  await pci.setConfig32(at + 4, MESSAGES)
  if (wide) await pci.setConfig32(at + 8, 0)
  await pci.setConfig16(at + (wide ? 12 : 8), 0x77)
  await pci.setConfig16(at + 2, (await pci.config16(at + 2)) | 1)
  t.is(device.interruptMode, 'msi')
  device.raise('msi')
  t.true(await eventually(async () => (await guest.read32(MESSAGES)) === 0x77))
})

test('the line goes up, and down as the driver quiets the device', async (t) => {
  const { device, guest, pci, bar0 } = await running(t, {
    regions: { bar0: { size: 0x1000 } },
    irqs: { intx: true },
    onRead: () => 0,
    onWrite: () => device.lower('intx'),
  })
  await guest.interceptInterrupts()
  t.is(await pci.pin, 1)
  t.deepEqual(guest.linesUp, [])
  device.raise('intx')
  t.true(await eventually(() => guest.linesUp.length === 1))
  const [line] = guest.linesUp
  // The access itself ends the interrupt for QEMU; the device says whether there is another.
  await guest.write32(bar0, 1)
  t.true(await eventually(async () => (await guest.read32(bar0), guest.linesUp.length === 0)))
  device.raise('intx')
  t.true(await eventually(() => guest.linesUp.length === 1))
  t.deepEqual(guest.linesUp, [line])
})

test('a line that is still up after an access is signalled again', async (t) => {
  let left = 3
  const { device, guest, bar0 } = await running(t, {
    regions: { bar0: { size: 0x1000 } },
    irqs: { intx: true },
    onRead: () => left,
    onWrite: () => {
      left--
      if (left === 0) device.lower('intx')
    },
  })
  await guest.interceptInterrupts()
  device.raise('intx')
  for (const expected of [3, 2, 1]) {
    t.true(await eventually(() => guest.linesUp.length === 1), `with ${String(expected)} left`)
    t.is(await guest.read32(bar0), expected)
    await guest.write32(bar0, 0)
  }
  t.is(await guest.read32(bar0), 0)
  t.true(await eventually(() => guest.linesUp.length === 0))
})

test('a device that says it is broken stops the guest', async (t) => {
  const { device, qemu } = await running(t, { regions: { bar0: { size: 0x1000, plain: true } } })
  device.raise('err')
  t.true(await eventually(() => qemu.monitor.events.includes('STOP')))
})
