// The PCI bus: configuration space by ports and by memory, and BARs placed as firmware places them.
import test from 'ava'

import { UserDevice } from '../../../ts/vfio-user/index.js'
import { layOutGuest, lineOf, type PciFunction, PciHost, placeBars } from '../../../ts/vmm/index.js'

const layout = layOutGuest(64 << 20)

function recorder(): { written: number[][]; pciFunction: PciFunction } {
  const written: number[][] = []
  return {
    written,
    pciFunction: {
      readConfig: (offset, width) => (offset << 8) | width,
      writeConfig: (...access) => void written.push(access),
    },
  }
}

/** The configuration space of a device as a function. */
function functionOf(device: UserDevice): PciFunction {
  const { space } = device.config
  return {
    readConfig: (offset, width) =>
      width === 4 ? space.read32(offset) : width === 2 ? space.read16(offset) : space.read8(offset),
    writeConfig: (offset, width, value) => {
      if (width === 4) space.write32(offset, value)
      else if (width === 2) space.write16(offset, value)
      else space.write8(offset, value)
    },
  }
}

test('ports: an address selects register, slot and function; what is not there reads all ones', (t) => {
  const pci = new PciHost()
  const { written, pciFunction } = recorder()
  pci.plug(1, pciFunction)
  const select = (slot: number, offset: number, enabled = 0x8000_0000): void => {
    pci.ports.write(0, 4, (enabled | (slot << 11) | offset) >>> 0, 0)
  }
  select(1, 0x10)
  t.is(pci.ports.read(0, 4, 0), 0x8000_0810)
  t.is(pci.ports.read(4, 4, 0), 0x1004)
  t.is(pci.ports.read(6, 2, 0), 0x1202)
  pci.ports.write(5, 1, 0xff, 0)
  t.deepEqual(written, [[0x11, 1, 0xff]])
  for (const [slot, enabled] of [
    [2, 0x8000_0000],
    [1, 0],
  ] as const) {
    select(slot, 0, enabled)
    t.is(pci.ports.read(4, 4, 0), 0xffff_ffff)
    pci.ports.write(4, 4, 1, 0)
  }
  pci.ports.write(0, 4, 0x8001_0800, 0)
  t.is(pci.ports.read(4, 2, 0), 0xffff, 'bus 1')
  t.is(written.length, 1)
})

test('ports: the byte within the address port resets', (t) => {
  let resets = 0
  const { ports } = new PciHost({ reset: () => resets++ })
  ports.write(1, 1, 0x02, 0)
  ports.write(0, 4, 0x0606_0606, 0)
  t.is(resets, 0)
  ports.write(1, 1, 0x06, 0)
  t.is(resets, 1)
})

test('memory: the same configuration spaces, and those of PCI Express whole', (t) => {
  const pci = new PciHost()
  const { written, pciFunction } = recorder()
  pci.plug(31, pciFunction, 7)
  const place = ((31 << 3) | 7) << 12
  t.is(pci.ecam.read(place | 0x104, 4, 0), 0x1_0404)
  pci.ecam.write(place | 0xffc, 4, 5, 0)
  t.deepEqual(written, [[0xffc, 4, 5]])
  t.is(pci.ecam.read(0, 4, 0), 0x0008_1b36, 'the bridge')
  t.is(pci.ecam.read(8, 4, 0), 0x0600_0000)
  t.is(pci.ecam.read(0x100, 2, 0), 0xffff)
  pci.ecam.write(0, 4, 0, 0)
  t.is(pci.ecam.read(0, 2, 0), 0x1b36)
})

test('function 0 says whether its slot has others', (t) => {
  const pci = new PciHost()
  const header: PciFunction = { readConfig: () => 0, writeConfig: () => undefined }
  const unplug = [pci.plug(2, header), pci.plug(2, header, 3)]
  const at = (2 << 3) << 12
  t.is(pci.ecam.read(at | 0x0c, 4, 0), 0x0080_0000)
  t.is(pci.ecam.read(at | 0x0e, 1, 0), 0x80)
  t.is(pci.ecam.read(at | 0x0c, 2, 0), 0)
  t.deepEqual(
    pci.functions.map(({ slot, number }) => [slot, number]),
    [
      [2, 0],
      [2, 3],
    ],
  )
  unplug[1]?.()
  t.is(pci.ecam.read(at | 0x0e, 1, 0), 0)
  t.throws(() => pci.plug(2, header), { instanceOf: RangeError })
  t.throws(() => pci.plug(0, header), { instanceOf: RangeError })
})

test('BARs get addresses of their kind, aligned to their size, and the device decodes them', (t) => {
  const device = new UserDevice({
    name: 'bars',
    pci: { vendorId: 1, deviceId: 2, classCode: 0xff0000 },
    regions: {
      bar0: { size: 0x1000, plain: true },
      bar1: { size: 0x20, io: true, plain: true },
      bar2: { size: 0x10_0000, is64Bit: true, prefetchable: true, plain: true },
      bar4: { size: 0x4000, plain: true },
    },
    irqs: { intx: true },
  })
  const other = new UserDevice({
    name: 'none',
    pci: { vendorId: 1, deviceId: 3, classCode: 0xff0000 },
  })
  placeBars(
    [
      { slot: 3, number: 0, pciFunction: functionOf(device) },
      { slot: 4, number: 0, pciFunction: functionOf(other) },
    ],
    layout,
  )
  const { space } = device.config
  t.is(space.read32(0x20), 0xc000_0000, 'the larger one first')
  t.is(space.read32(0x10), 0xc000_4000)
  t.is(space.read32(0x14), 0xc001)
  t.is(space.read32(0x18), 0x0000_000c)
  t.is(space.read32(0x1c), 0x10, 'above 64 GiB')
  t.is(space.read16(4), 3)
  t.is(space.read8(0x3c), lineOf(3, 1))
  t.is(other.config.space.read16(4), 0)
})

test('a window that is full is an error with its name', (t) => {
  const device = new UserDevice({
    name: 'large',
    pci: { vendorId: 1, deviceId: 2, classCode: 0 },
    regions: { bar0: { size: 2 ** 30, read: () => 0 } },
  })
  t.throws(() => placeBars([{ slot: 1, number: 0, pciFunction: functionOf(device) }], layout), {
    instanceOf: RangeError,
    message: /memory below 4 GiB has no room for a BAR of 0x40000000/,
  })
})

test('lines: the pins of a slot are on lines next to each other, above those of ISA', (t) => {
  t.deepEqual(
    [1, 2, 3, 4].map((pin) => lineOf(6, pin)),
    [22, 23, 16, 17],
  )
})
