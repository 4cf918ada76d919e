// What a guest can read of capabilities that it is not shown, and of resets that the device does not have: nothing.
import test from 'ava'
import fc from 'fast-check'

import { E1000E, GPU, NVME } from '../pci/dump.js'
import { E1000E_SIZES, GPU_SIZES, NVME_SIZES, guest } from './guest.js'

const COMMAND = 0x04
const AF = 0xe0

function words(config: { read(offset: number, width: number): number }, from: number, end: number): number[] {
  return Array.from({ length: (end - from) / 4 }, (_, i) => config.read(from + 4 * i, 4))
}

test('the host’s addresses in SR-IOV, the logs of AER and the sizes of resizable BARs read as zeros', (t) => {
  const { config, device } = guest(GPU, 4096, { sizes: GPU_SIZES })
  t.is(device.read32(0x344), 0xb000_0004, 'the device has an address of its virtual functions')
  t.is(device.read32(0x154), 0x2000, 'and error masks')
  // Behind each header; that of the first is a link.
  for (const [from, end] of [
    [0x140, 0x200],
    [0x200, 0x320],
    [0x320, 0x420],
    [0x420, 0x450],
    [0x460, 0x1000],
  ] as const)
    // prettier-ignore
    t.deepEqual(
      words(config, from, end).filter((word) => word !== 0),
      [],
      from.toString(16),
    )
  t.is(config.read(0x344, 1), 0)
  t.is(config.read(0x346, 2), 0)
  t.is(config.read(0x454, 4), device.read32(0x454), 'what is shown is the device’s')
  t.is(config.read(0x104, 4), device.read32(0x104))
})

test('AER of a device whose first extended capability it is: its words are zeros behind the link', (t) => {
  const { config } = guest(E1000E, 4096, { sizes: E1000E_SIZES })
  t.deepEqual(words(config, 0x104, 0x140).filter((word) => word !== 0), []) // prettier-ignore
  t.deepEqual([config.read(0x144, 4), config.read(0x148, 4)], [0xff12_3456, 0x5254_00ff])
})

test('a serial number that is hidden cannot be read, nor anything else that the VMM hides', (t) => {
  const { config, device } = guest(E1000E, 4096, {
    sizes: E1000E_SIZES,
    hide: (name) => name === 'dsn' || name === 'pm' || name === 'msi',
  })
  t.deepEqual(words(config, 0x100, 0x1000).filter((word) => word !== 0), []) // prettier-ignore
  t.deepEqual(words(config, 0xc8, 0xd0), [0, 0], 'pm')
  t.deepEqual(words(config, 0xd0, 0xdc), [0, 0, 0], 'msi')
  const before = Array.from({ length: 32 }, (_, i) => device.read8(0xc8 + i))
  for (let at = 0xc8; at < 0xe0; at++) config.write(at, 1, 0xff)
  t.deepEqual(
    Array.from({ length: 32 }, (_, i) => device.read8(0xc8 + i)),
    before,
    'nor written',
  )
})

test('a hidden capability hides no register of the device behind it', (t) => {
  const { config } = guest(
    NVME.replace('60: 01 00 03 00 0b 00 00 00', '60: 01 00 03 00 0b 00 00 00 5a'),
    4096,
    {
      sizes: NVME_SIZES,
      hide: (name) => name === 'pm',
    },
  )
  t.is(config.read(0x60, 4), 0)
  t.is(config.read(0x64, 4), 0)
  t.is(config.read(0x68, 1), 0x5a)
})

test('the memory ranges of a CXL device are the host’s addresses: its DVSEC is not shown', (t) => {
  // DVSEC 0 of CXL's vendor in place of 8, with the base of a range.
  const dump = GPU.replace('450: 23 00 01 46 98 1e c1 03 08 00', '450: 23 00 01 46 98 1e c1 03 00 00')
  const { config, seen } = guest(`${dump.trimEnd()}\n470: 00 00 00 40 00 00 00 00\n`, 4096, {
    sizes: GPU_SIZES,
  })
  t.deepEqual(
    seen.extendedCapabilities().map(({ name }) => name),
    ['vndr'],
  )
  t.deepEqual(words(config, 0x450, 0x490).filter((word) => word !== 0), []) // prettier-ignore
})

test('Advanced Features without Function Level Reset: asking for one does nothing', (t) => {
  const without = guest(GPU.replace('e0: 13 00 06 03', 'e0: 13 00 06 01'), 4096, { sizes: GPU_SIZES })
  without.config.write(0x10, 4, 0xc000_0000)
  without.config.write(COMMAND, 2, 2)
  without.told.length = 0
  without.config.write(AF + 4, 1, 1)
  without.config.write(AF + 4, 4, 0xffff_ffff)
  t.deepEqual(without.told, [])
  t.is(without.config.read(0x10, 4), 0xc000_0004, 'the BAR is where it was')
  const having = guest(GPU, 4096, { sizes: GPU_SIZES })
  having.config.write(0x10, 4, 0xc000_0000)
  having.config.write(COMMAND, 2, 2)
  having.config.write(AF + 4, 1, 1)
  t.is(having.config.read(0x10, 4), 4)
})

test('property: beyond what is shown, extended space has no byte of the device', (t) => {
  const filled = Array.from({ length: 0xf0 }, (_, i) => {
    const at = 0x100 + i * 16
    const line = GPU.split('\n').find((each) => each.startsWith(`${at.toString(16)}: `))
    return line ?? `${at.toString(16)}: ${Array.from({ length: 16 }, () => '5a').join(' ')}`
  })
  const header = GPU.split('\n').filter((line) => /^[0-9a-f]{2}: /.test(line))
  const { config, device } = guest([...header, ...filled].join('\n'), 4096, { sizes: GPU_SIZES })
  // The last one says that it is longer than there is room before the next.
  const shown = (at: number): boolean => at < 0x10c || (at >= 0x450 && at < 0x460)
  fc.assert(
    fc.property(fc.integer({ min: 0x104, max: 0xfff }), (at) => {
      if (!shown(at)) t.is(config.read(at, 1), 0, at.toString(16))
      else if (at >= 0x454) t.is(config.read(at, 1), device.read8(at))
    }),
    { numRuns: 2000 },
  )
})
