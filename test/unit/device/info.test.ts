// vfio_device_info, vfio_region_info and vfio_irq_info, decoded from bytes.
import test from 'ava'
import fc from 'fast-check'

import { decodeDeviceInfo, decodeIrqInfo, decodeRegionInfo } from '../../../ts/device/info.js'
import { chained } from '../uapi/vfio/chained.js'

const DEVICE_HEAD = 24
const REGION_HEAD = 32

test('device: bus, reset, counts, atomic completion', (t) => {
  const { bytes, view } = chained(DEVICE_HEAD, [
    { id: 5, body: [5] },
    { id: 99, body: [0xabcd] },
  ])
  view.setUint32(4, 1 | 2 | (1 << 7), true)
  view.setUint32(8, 9, true)
  view.setUint32(12, 5, true)
  view.setUint32(16, DEVICE_HEAD, true)
  const info = decodeDeviceInfo(bytes)
  t.is(info.bus, 'pci')
  t.true(info.resettable)
  t.is(info.numRegions, 9)
  t.is(info.numIrqs, 5)
  t.deepEqual(info.capabilities[0], {
    name: 'pciAtomicCompletion',
    comp32: true,
    comp64: false,
    comp128: true,
  })
  const second = info.capabilities[1]
  t.is(second?.name, 'unknown')
  t.true(second?.name === 'unknown' && second.id === 99 && second.bytes[0] === 0xcd)
})

test('device: every bus by its flag, and one that is new', (t) => {
  const buses = ['pci', 'platform', 'amba', 'ccw', 'ap', 'fsl-mc'].map(
    (bus, i) => [1 << (i + 1), bus] as const,
  )
  for (const [flag, bus] of [...buses, [1 << 8, 'cdx'] as const, [1 << 20, 'other'] as const] as [
    number,
    string,
  ][]) {
    const { bytes, view } = chained(DEVICE_HEAD, [])
    view.setUint32(4, flag, true)
    t.is<string, string>(decodeDeviceInfo(bytes).bus, bus)
    t.false(decodeDeviceInfo(bytes).resettable)
  }
})

test('region: flags, place, sparse areas, type, msixMappable', (t) => {
  const { bytes, view } = chained(REGION_HEAD, [
    { id: 1, body: [2, 0, 0n, 0x1000n, 0x3000n, 0x2000n] },
    { id: 3, body: [] },
    { id: 2, body: [0x8000_8086, 1] },
    { id: 2, body: [1, 2] },
  ])
  view.setUint32(4, 1 | 4 | 8, true)
  view.setUint32(8, 2, true)
  view.setUint32(12, REGION_HEAD, true)
  view.setBigUint64(16, 0x10_0000n, true)
  view.setBigUint64(24, 0x200_0000_0000n, true)
  t.deepEqual(decodeRegionInfo(bytes), {
    index: 2,
    flags: { read: true, write: false, mmap: true, raw: 13 },
    size: 0x10_0000,
    fileOffset: 0x200_0000_0000,
    capabilities: [
      {
        name: 'sparseMmap',
        areas: [
          { offset: 0, size: 0x1000 },
          { offset: 0x3000, size: 0x2000 },
        ],
      },
      { name: 'msixMappable' },
      { name: 'type', type: 0x8000_8086, subtype: 1, vendor: 0x8086, kind: 'intelIgdOpregion' },
      { name: 'type', type: 1, subtype: 2, vendor: null, kind: null },
    ],
  })
})

test('region: more areas announced than there are bytes', (t) => {
  const { bytes, view } = chained(REGION_HEAD, [{ id: 1, body: [1000, 0, 1n, 2n] }])
  view.setUint32(4, 8, true)
  view.setUint32(12, REGION_HEAD, true)
  t.deepEqual(decodeRegionInfo(bytes).capabilities, [{ name: 'sparseMmap', areas: [{ offset: 1, size: 2 }] }])
})

test('interrupts: every flag', (t) => {
  const flags = ['eventfd', 'maskable', 'automasked', 'noresize'] as const
  flags.forEach((name, bit) => {
    const { bytes, view } = chained(16, [])
    view.setUint32(4, 1 << bit, true)
    view.setUint32(8, 2, true)
    view.setUint32(12, 65, true)
    const info = decodeIrqInfo(bytes)
    t.is(info.index, 2)
    t.is(info.count, 65)
    for (const each of flags) t.is(info.flags[each], each === name)
  })
})

test('any bytes decode without an exception', (t) => {
  const bytesAndStart = fc.tuple(
    fc.uint8Array({ minLength: 32, maxLength: 120 }),
    fc.integer({ min: 0, max: 130 }),
  )
  fc.assert(
    fc.property(bytesAndStart, ([bytes, first]) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset)
      view.setUint32(4, 0xffff_ffff, true)
      view.setUint32(12, first, true)
      view.setUint32(16, first, true)
      if (first >= 32 && first + 8 <= bytes.length) view.setUint16(first, first % 7, true)
      decodeDeviceInfo(bytes)
      decodeRegionInfo(bytes)
      decodeIrqInfo(bytes)
    }),
    { numRuns: 2000 },
  )
  t.pass()
})
