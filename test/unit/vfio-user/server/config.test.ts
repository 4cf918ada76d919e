// Configuration space as an author declares it: read as drivers read it, by the decoders of this package.
import test from 'ava'

import { walkCapabilities, walkExtendedCapabilities } from '../../../../ts/pci/walk.js'
import { UserDevice, type UserDeviceOptions } from '../../../../ts/vfio-user/index.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { IDENTITY, own } from './peer.js'

function made(options: Partial<UserDeviceOptions>): UserDevice {
  return new UserDevice({ name: 'test device', pci: IDENTITY, ...options })
}

/** What software does to find a size: all ones are written, and what can be written reads back. */
function probe(device: UserDevice, offset: number): number {
  const { space } = device.config
  const before = space.read32(offset)
  space.write32(offset, 0xffff_ffff)
  const mask = space.read32(offset)
  space.write32(offset, before)
  return mask
}

test('a device is who its author says it is', (t) => {
  const { config } = made({
    pci: { ...IDENTITY, classCode: 0x030000, revision: 0x10, subsystemVendorId: 0x1af4, subsystemId: 0x1100 },
  })
  t.is(config.vendorId, 0x1234)
  t.is(config.deviceId, 0x11e8)
  t.is(config.classCode.code, 0x030000)
  t.is(config.space.read8(8), 0x10)
  t.is(config.space.read16(0x2c), 0x1af4)
  t.is(config.space.read16(0x2e), 0x1100)
  t.is(config.space.size, 256)
  const plain = made({}).config.space
  t.is(plain.read16(0x2c), 0x1234)
  t.is(plain.read16(0x2e), 0x11e8)
})

test('identity cannot be written', (t) => {
  const { space } = made({}).config
  for (const offset of [0, 8, 0x2c]) t.is(probe(made({}), offset), space.read32(offset))
})

test('a base address register answers a write of ones with its size', (t) => {
  const device = made({
    regions: {
      bar0: { size: 0x1000 },
      bar1: { size: 0x10000, prefetchable: true },
      bar2: { size: 0x20, io: true },
      bar4: { size: 2 ** 34, is64Bit: true, prefetchable: true },
      rom: { size: 0x10000, plain: true },
    },
  })
  t.is(probe(device, 0x10), 0xffff_f000)
  t.is(probe(device, 0x14), 0xffff_0008)
  t.is(probe(device, 0x18), 0xffff_ffe1)
  t.is(probe(device, 0x1c), 0)
  t.is(probe(device, 0x20), 0x0000_000c)
  t.is(probe(device, 0x24), 0xffff_fffc)
  t.is(probe(device, 0x30), 0xffff_0001)
  device.config.space.write32(0x10, 0xfebf_1234)
  t.is(device.config.space.read32(0x10), 0xfebf_1000)
  device.config.space.write8(0x13, 0x12)
  t.is(device.config.space.read32(0x10), 0x12bf_1000)
})

test('the command register has the bits that the device has a use for', (t) => {
  t.is(probe(made({ regions: { bar0: { size: 16 } } }), 4) & 0xffff, 0x0546)
  t.is(probe(made({ regions: { bar0: { size: 16, io: true } } }), 4) & 0xffff, 0x0545)
  const device = made({})
  t.false(device.config.command.busMaster)
  device.config.command.busMaster = true
  t.true(device.config.command.busMaster)
})

test('capabilities are found by walking them, with nothing wrong about them', (t) => {
  const device = made({
    regions: { bar0: { size: 0x1000 } },
    irqs: { intx: true, msi: 4, msix: 3 },
    capabilities: [{ id: 0x09, bytes: Uint8Array.of(5, 1, 2) }],
  })
  const { capabilities, problems } = walkCapabilities(device.config.space)
  t.deepEqual(problems, [])
  t.deepEqual(
    capabilities.map(({ name }) => name),
    ['vndr', 'msi', 'msix'],
  )
  t.like(capabilities[1], { vectorsCapable: 4, is64Bit: true, enabled: false })
  t.like(capabilities[2], {
    tableSize: 3,
    table: { bar: 1, offset: 0, size: 48 },
    pba: { bar: 1, offset: 2048, size: 8 },
  })
  t.is(device.config.interruptPin, 'INTA')
  t.is(made({}).config.interruptPin, null)
})

test('an MSI-X table goes to the first BAR that is free, or where the author has room for it', (t) => {
  const own = made({ regions: { bar0: { size: 0x1000, is64Bit: true } }, irqs: { msix: 2048 } })
  const [msix] = walkCapabilities(own.config.space).capabilities
  t.like(msix, { table: { bar: 2, offset: 0, size: 32768 }, pba: { bar: 2, offset: 32768, size: 256 } })
  t.is(probe(own, 0x18), 0xffff_0000)
  const there = made({
    regions: { bar0: { size: 0x4000 } },
    irqs: { msix: { vectors: 2, region: 'bar0', table: 0x2000, pba: 0x3000 } },
  })
  t.like(walkCapabilities(there.config.space).capabilities[0], {
    table: { bar: 0, offset: 0x2000 },
    pba: { bar: 0, offset: 0x3000 },
  })
})

test("an author's capability is where it is wanted, and the others go around it", (t) => {
  const device = made({
    irqs: { msi: 1 },
    capabilities: [
      { id: 0x09, bytes: new Uint8Array(18) },
      { id: 0x0d, bytes: new Uint8Array(6), offset: 0x40 },
    ],
  })
  const { capabilities, problems } = walkCapabilities(device.config.space)
  t.deepEqual(problems, [])
  t.deepEqual(
    capabilities.map(({ id, offset }) => [id, offset]),
    [
      [0x0d, 0x40],
      [0x09, 0x48],
      [0x05, 0x5c],
    ],
  )
})

test('only the bits of a capability that its author names can be written, and he is told and asked', (t) => {
  const calls: unknown[] = []
  const device = made({
    capabilities: [
      {
        id: 0x09,
        bytes: Uint8Array.of(8, 0, 0, 0, 0, 0),
        writable: Uint8Array.of(0, 0, 0xff, 0x0f, 0, 0),
        onRead: (offset, width) => {
          calls.push(['read', offset, width])
          return offset === 4 ? 0xabcd : 8
        },
        onWrite: (...call) => calls.push(['write', ...call]),
      },
    ],
  })
  const { space } = device.config
  t.is(space.read16(0x44), 0xabcd)
  space.write16(0x44, 0xffff)
  t.deepEqual(calls, [
    ['read', 4, 2],
    ['write', 4, 2, 0xffff],
  ])
  t.is(
    probe(
      made({
        capabilities: [{ id: 9, bytes: new Uint8Array(6), writable: Uint8Array.of(0, 0, 0xff, 0x0f, 0, 0) }],
      }),
      0x44,
    ),
    0x0fff,
  )
})

test('extended capabilities make the space 4096 bytes', (t) => {
  const express = new Uint8Array(0x3a)
  express[0] = 2
  const device = made({
    capabilities: [{ id: 0x10, bytes: express }],
    extendedCapabilities: [
      { id: 0x03, bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
      { id: 0x0b, version: 1, bytes: new Uint8Array(8) },
    ],
  })
  t.is(device.config.space.size, 4096)
  const { capabilities, problems } = walkExtendedCapabilities(device.config.space)
  t.deepEqual(problems, [])
  t.deepEqual(
    capabilities.map(({ name, offset }) => [name, offset]),
    [
      ['dsn', 0x100],
      ['vndr', 0x10c],
    ],
  )
})

test('what no device can be is refused when it is made', (t) => {
  const memory = own(t, GuestMemory.create(0x2000))
  const wrong: [Partial<UserDeviceOptions>, RegExp][] = [
    [{ pci: { ...IDENTITY, vendorId: 0x10000 } }, /pci\.vendorId/],
    [{ pci: { ...IDENTITY, classCode: 0x1000000 } }, /pci\.classCode/],
    [{ regions: { bar0: { size: 100 } } }, /power of two, not 100/],
    [{ regions: { bar0: { size: 8 } } }, /from 16/],
    [{ regions: { bar0: { size: 512, io: true } } }, /to 256/],
    [{ regions: { bar0: { size: 2 ** 32, is64Bit: false } } }, /64 bits/],
    [{ regions: { bar5: { size: 16, is64Bit: true } } }, /no number after/],
    [{ regions: { bar0: { size: 16, is64Bit: true }, bar1: { size: 16 } } }, /upper half of bar0/],
    [{ regions: { bar6: { size: 16 } } as object }, /one of bar0/],
    [{ regions: { bar0: { size: 0x4000, memory } } }, /fewer than the region needs/],
    [
      { regions: { bar0: { size: 0x2000, memory, mmapAreas: [{ offset: 0x800, size: 0x1000 }] } } },
      /whole pages/,
    ],
    [
      { regions: { bar0: { size: 0x2000, memory, mmapAreas: [{ offset: 0x1000, size: 0x2000 }] } } },
      /mmapAreas\[0\]\.size/,
    ],
    [{ regions: { bar0: { size: 0x2000, memory, plain: true } } }, /not both/],
    [{ regions: { bar0: { size: 0x2000, mmapAreas: [] } } }, /for a region with memory/],
    [{ regions: { bar0: { size: 16, plain: new Uint8Array(8) } } }, /must have 16 bytes/],
    [{ irqs: { msi: 3 } }, /power of two/],
    [{ irqs: { msix: 2049 } }, /irqs\.msix/],
    [{ irqs: { msix: { vectors: 1, region: 'bar0', table: 0, pba: 0x800 } } }, /memory BAR that is declared/],
    [
      {
        regions: { bar0: { size: 0x1000 } },
        irqs: { msix: { vectors: 4, region: 'bar0', table: 0, pba: 32 } },
      },
      /overlap/,
    ],
    [
      {
        regions: { bar0: { size: 0x2000, memory } },
        irqs: { msix: { vectors: 1, region: 'bar0', table: 0, pba: 32 } },
      },
      /may map/,
    ],
    [{ capabilities: [{ id: 0, bytes: new Uint8Array(2) }] }, /capabilities\[0\]\.id/],
    [{ capabilities: [{ id: 9, bytes: new Uint8Array(200) }] }, /no room/],
    [
      {
        capabilities: [
          { id: 9, bytes: new Uint8Array(8), offset: 0x40 },
          { id: 9, bytes: new Uint8Array(2), offset: 0x44 },
        ],
      },
      /overlaps/,
    ],
    [
      { capabilities: [{ id: 9, bytes: new Uint8Array(2), writable: new Uint8Array(1) }] },
      /must have 2 bytes/,
    ],
    [
      { regions: { bar0: { size: 16, doorbells: [{ offset: 2, width: 4, onRing: () => 0 }] } } },
      /multiple of its width/,
    ],
    [
      { regions: { bar0: { size: 16, doorbells: [{ offset: 0, match: 1, onRing: () => 0 }] } } },
      /needs a width/,
    ],
    [{ onRead: 7 as never }, /onRead must be a function/],
    [{ name: 7 as never }, /name must be a string/],
  ]
  for (const [options, message] of wrong) {
    const error = t.throws(() => made(options), { any: true, message })
    t.true(error instanceof TypeError || error instanceof RangeError, String(message))
  }
  t.throws(
    () =>
      made({
        irqs: { msix: 1 },
        regions: Object.fromEntries([0, 1, 2, 3, 4, 5].map((i) => [`bar${String(i)}`, { size: 16 }])),
      }),
    {
      message: /needs a BAR/,
    },
  )
})
