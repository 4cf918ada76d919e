// How stock QEMU begins with a device: the version, what the device is, its configuration space, the reset of a machine.
import test from 'ava'

import { IDENTITY, running, served } from './served.js'

test('QEMU and the server agree on a version without a word of complaint', async (t) => {
  let connected = 0
  const { qemu, device } = await served(t, { onConnect: () => connected++ })
  t.is(connected, 1)
  t.true(device.connected)
  // A longer answer than the question, a minor above 0, a key that it does not know: QEMU would say so, or be gone.
  t.is(qemu.said, '')
  t.true(qemu.running)
})

test('the guest finds the device that was declared', async (t) => {
  const { pci } = await served(t, {
    pci: { ...IDENTITY, subsystemVendorId: 0x1111, subsystemId: 0x2222 },
    regions: { bar0: { size: 0x1000 }, bar2: { size: 64, io: true }, bar4: { size: 0x4000, is64Bit: true } },
    irqs: { intx: true, msi: 4, msix: 8 },
  })
  t.is(await pci.config32(0x00), 0x5678_1234)
  t.is(await pci.config32(0x08), 0x00ff_0003)
  t.is(await pci.config32(0x2c), 0x2222_1111)
  t.is(await pci.pin, 1)
  t.deepEqual([await pci.barSize(0), await pci.barSize(2), await pci.barSize(4)], [0x1000, 64, 0x4000])
  t.not(await pci.capability(0x05), undefined, 'MSI')
  t.not(await pci.capability(0x11), undefined, 'MSI-X')
  t.is(await pci.capability(0x42), undefined)
})

test('a device without interrupts and without regions is one too', async (t) => {
  const { pci, qemu } = await served(t, {})
  t.is(await pci.config32(0), 0x5678_1234)
  t.is(await pci.pin, 0)
  t.is(await pci.barSize(0), 0)
  t.is(qemu.said, '')
})

test('a reset of the machine resets the device, and its BARs are empty', async (t) => {
  let resets = 0
  const { pci, qemu, guest, bar0 } = await running(t, {
    regions: { bar0: { size: 0x1000, plain: true } },
    onReset: () => resets++,
  })
  t.is(await pci.config32(0x10), bar0)
  await guest.write32(bar0 + 4, 7)
  t.is(await guest.read32(bar0 + 4), 7)
  const before = resets
  await qemu.monitor.reset()
  t.is(await pci.config32(0x10), 0)
  t.is(resets, before + 1)
  t.not(await guest.read32(bar0 + 4), 7, 'nothing decodes')
  const again = await pci.place(0)
  await pci.enable()
  t.is(typeof (await guest.read32(again + 4)), 'number')
  t.is(qemu.said, '')
})

test('capabilities of the author are in configuration space, with what may be written', async (t) => {
  const written: number[] = []
  const { pci } = await served(t, {
    capabilities: [
      { id: 0x09, bytes: Uint8Array.of(8, 1, 2, 3, 4, 5) },
      {
        id: 0x09,
        bytes: Uint8Array.of(8, 0xaa, 0, 0, 0, 0),
        writable: Uint8Array.of(0, 0, 0xff, 0x0f, 0, 0),
        onWrite: (offset, _width, value) => written.push(offset, value),
      },
    ],
  })
  const [first = 0, second = 0] = await pci.capabilities(0x09)
  t.is(await pci.config32(first + 4), 0x0504_0302)
  t.is(await pci.config8(second + 3), 0xaa)
  await pci.setConfig16(second + 4, 0xffff)
  t.is(await pci.config16(second + 4), 0x0fff)
  t.deepEqual(written, [4, 0xffff])
})
