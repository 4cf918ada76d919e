// The configuration space that a guest sees, over those of real devices: sizes and moves of BARs, what decodes when, which
// capabilities there are, and what reaches the device.
import test from 'ava'
import fc from 'fast-check'

import { E1000E, EDU, GPU, NVME } from '../pci/dump.js'
import { E1000E_SIZES, EDU_SIZES, GPU_SIZES, NVME_SIZES, guest, probe } from './guest.js'

const COMMAND = 0x04
const MEMORY = 0x0002
const PORTS = 0x0001
const BAR0 = 0x10

test('BARs begin empty, and answer with their size when all ones are written', (t) => {
  const { config, device } = guest(E1000E, 4096, { sizes: E1000E_SIZES })
  for (const [index, expected] of [0xfffe_0000, 0xfffe_0000, 0xffff_ffe1, 0xffff_c000, 0, 0].entries()) {
    const register = BAR0 + 4 * index
    t.is(config.read(register, 4), index === 2 ? 1 : 0, `bar${String(index)} has no address`)
    t.is(probe(config, register), expected, `bar${String(index)}`)
    t.is(config.read(register, 4), index === 2 ? 1 : 0)
  }
  t.is(device.read32(BAR0), 0xfe84_0000, "the device's own stay as they are")
})

test('a 64-bit BAR of 16 GiB is sized through both of its registers', (t) => {
  const { config } = guest(GPU, 4096, { sizes: GPU_SIZES })
  t.is(config.read(0x18, 4), 0x0c, '64 bits, prefetchable')
  t.is(probe(config, 0x18), 0x0c)
  t.is(probe(config, 0x1c), 0xffff_fffc)
  config.write(0x18, 4, 0xffff_ffff)
  config.write(0x1c, 4, 0x0000_0024)
  config.write(COMMAND, 2, MEMORY)
  const bar = config.bars[1]
  t.is(bar && config.addressOf(bar), 0x24_0000_0000n)
})

test('property: whatever the guest writes to a BAR, its address is a multiple of its size and its kind stays', (t) => {
  const width = fc.constantFrom<1 | 2 | 4>(1, 2, 4)
  const write = fc.record({
    at: fc.integer({ min: 0, max: 23 }),
    width,
    value: fc.integer({ min: 0, max: 0xffff_ffff }),
  })
  const device = fc.constantFrom<[string, number, Record<number, number>]>(
    [EDU, 256, EDU_SIZES],
    [E1000E, 4096, E1000E_SIZES],
    [NVME, 4096, NVME_SIZES],
    [GPU, 4096, GPU_SIZES],
  )
  fc.assert(
    fc.property(device, fc.array(write, { maxLength: 20 }), ([dump, size, sizes], writes) => {
      const { config, told } = guest(dump, size, { sizes })
      const kinds = config.bars.map(
        ({ description: { index, kind } }) => config.read(BAR0 + 4 * index, 4) & (kind === 'io' ? 3 : 15),
      )
      for (const each of writes) {
        const at = BAR0 + Math.min(each.at, 24 - each.width)
        config.write(at, each.width, each.value % 2 ** (8 * each.width))
      }
      config.bars.forEach((bar, i) => {
        const { index, kind } = bar.description
        t.is(bar.address % BigInt(bar.decoded), 0n)
        t.is(config.read(BAR0 + 4 * index, 4) & (kind === 'io' ? 3 : 15), kinds[i] as number)
      })
      t.false(
        told.some((each) => each.startsWith('write')),
        'nothing of it reaches the device',
      )
    }),
  )
})

test('decoding: the BARs go before the device stops answering, and come after it answers', (t) => {
  const { config, told } = guest(EDU, 256, { sizes: EDU_SIZES })
  config.write(BAR0, 4, 0xfeb0_0000)
  told.length = 0
  config.write(COMMAND, 2, MEMORY)
  t.deepEqual(told, ['write16 4=2', 'place 0@feb00000'])
  told.length = 0
  config.write(BAR0, 4, 0xfe90_0000)
  t.deepEqual(told, ['place 0@fe900000'], 'a move needs nothing of the device')
  told.length = 0
  config.write(COMMAND, 1, 0)
  t.deepEqual(told.slice(0, 2), ['place 0@-', 'write16 4=0'])
})

test('D3 takes the BARs away before, D0 brings them back after', (t) => {
  const { config, told, device } = guest(NVME, 4096, { sizes: NVME_SIZES })
  const PMCSR = 0x64
  config.write(BAR0, 4, 0xc000_0000)
  config.write(COMMAND, 2, MEMORY)
  told.length = 0
  config.write(PMCSR, 2, 0x0103)
  t.deepEqual(told.slice(0, 2), ['place 0@-', 'write16 64=b'])
  t.is(device.read16(PMCSR), 0x000b, 'PME is not let through, and the rest stays')
  told.length = 0
  config.write(PMCSR, 1, 0)
  t.deepEqual(told, ['write16 64=8', 'place 0@c0000000'])
})

test('a function level reset forgets what the guest set, then resets, then turns decoding off', (t) => {
  const { config, told } = guest(NVME, 4096, { sizes: NVME_SIZES })
  config.write(BAR0, 4, 0xc000_0000)
  config.write(COMMAND, 2, MEMORY)
  config.write(0x42, 2, 0x8000)
  told.length = 0
  const DEVCTL = 0x88
  config.write(DEVCTL, 2, config.read(DEVCTL, 2) | 0x8000)
  t.deepEqual(told, ['place 0@-', 'msix all', 'write16 88=d010', 'write16 4=0'])
  t.is(config.read(BAR0, 4), 4)
  t.is(config.msix?.enabled, false)
})

test('I/O and memory decode apart', (t) => {
  const { config } = guest(E1000E, 4096, { sizes: E1000E_SIZES })
  config.write(BAR0, 4, 0xfe00_0000)
  config.write(0x18, 4, 0xc040)
  const addresses = (): (bigint | null)[] => config.bars.map((bar) => config.addressOf(bar))
  config.write(COMMAND, 2, PORTS)
  t.deepEqual(addresses(), [null, null, 0xc040n, null])
  config.write(COMMAND, 2, MEMORY)
  t.deepEqual(addresses(), [0xfe00_0000n, null, null, null])
})

test('the ROM: sized, enabled by its own bit and by memory decoding', (t) => {
  const { config } = guest(EDU, 256, { sizes: EDU_SIZES, romSize: 40_000 })
  const ROM = 0x30
  config.write(ROM, 4, 0xffff_f800)
  t.is(config.read(ROM, 4), 0xffff_0000)
  config.write(ROM, 4, 0xfea0_0001)
  t.is(config.romAddress, null)
  config.write(COMMAND, 2, MEMORY)
  t.is(config.romAddress, 0xfea0_0000n)
  config.write(ROM, 4, 0xfea0_0000)
  t.is(config.romAddress, null)
  const none = guest(EDU, 256, { sizes: EDU_SIZES })
  t.is(probe(none.config, ROM), 0)
})

test('what a GPU shows its guest: only what means something there, linked without gaps', (t) => {
  const { seen, config } = guest(GPU, 4096, { sizes: GPU_SIZES })
  t.deepEqual(
    seen.capabilities().map(({ name }) => name),
    ['vndr', 'exp', 'msi', 'pm', 'af'],
  )
  t.deepEqual(seen.problems(), [])
  t.deepEqual(
    seen.extendedCapabilities().map(({ name }) => name),
    ['vndr', 'dvsec'],
  )
  t.is(config.read(0x200, 4) & 0xffff, 0, 'ATS has no header any more')
})

test('hidden capabilities are out of the list, and inert', (t) => {
  const { seen, config, told } = guest(NVME, 4096, {
    sizes: NVME_SIZES,
    hide: (name) => name === 'pm' || name === 'msix',
  })
  t.deepEqual(
    seen.capabilities().map(({ name }) => name),
    ['exp'],
  )
  t.is(config.msix, null)
  told.length = 0
  config.write(0x64, 2, 3)
  config.write(0x42, 2, 0x8000)
  t.deepEqual(told, [])
})

test('with every capability hidden there is no list, and extended space begins with nothing', (t) => {
  const { seen, config } = guest(E1000E, 4096, { sizes: E1000E_SIZES, hide: () => true })
  t.false(seen.status.capabilityList)
  t.is(config.read(0x34, 1), 0)
  t.is(config.read(0x100, 4), 0)
})

test('where the first extended capability is hidden, a null one points on', (t) => {
  const { config, seen } = guest(E1000E, 4096, { sizes: E1000E_SIZES })
  t.is(config.read(0x100, 4), 0x1400_0000)
  t.deepEqual(
    seen.extendedCapabilities().map(({ name, offset }) => [name, offset]),
    [
      ['null', 0x100],
      ['dsn', 0x140],
    ],
  )
})

test('one function, no self test, and a pin only where its line goes somewhere', (t) => {
  const wired = guest(E1000E, 4096, { sizes: E1000E_SIZES, interruptLine: 10 })
  t.is(wired.seen.interruptPin, 'INTA')
  t.is(wired.seen.interruptLine, 10)
  wired.config.write(0x3c, 1, 5)
  t.is(wired.seen.interruptLine, 5)
  t.deepEqual(wired.told, [])
  const unwired = guest(E1000E, 4096, { sizes: E1000E_SIZES, interruptLine: null })
  t.is(unwired.seen.interruptPin, null)
  t.is(unwired.seen.interruptLine, 255)
  const many = guest(E1000E.replace('00 00 02 10 00 00 00', '00 00 02 10 00 80 C0'), 4096, {
    sizes: E1000E_SIZES,
  })
  t.false(many.seen.multifunction)
  t.is(many.config.read(0x0f, 1), 0)
})

test('status bits are cleared by 1 and by nothing else', (t) => {
  const { config, device } = guest(EDU, 256, { sizes: EDU_SIZES })
  device.write16(0x06, 0x6010)
  config.write(0x06, 2, 0x2000)
  t.is(device.read16(0x06) & 0xe000, 0x2000, 'the device saw only that bit; what it clears is its own')
  config.write(COMMAND, 2, MEMORY)
  t.is(device.read16(0x06) & 0x4000, 0, 'a write beside it does not write status back')
})

test('property: no access of any width and place throws, and reads stay within their width', (t) => {
  const access = fc.record({
    offset: fc.integer({ min: 0, max: 4100 }),
    width: fc.constantFrom(1, 2, 4),
    value: fc.integer({ min: 0, max: 0xffff_ffff }),
    write: fc.boolean(),
  })
  fc.assert(
    fc.property(
      fc.constantFrom(EDU, E1000E, NVME, GPU),
      fc.array(access, { maxLength: 50 }),
      (dump, accesses) => {
        const { config } = guest(dump, dump === EDU ? 256 : 4096, { sizes: { 0: 0x4000 }, romSize: 2048 })
        for (const { offset, width, value, write } of accesses) {
          if (write) {
            config.write(offset, width, value % 2 ** (8 * width))
          } else {
            const read = config.read(offset, width)
            t.true(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * width))
          }
        }
      },
    ),
  )
})

test('property: a read of four bytes is what four reads of one byte give', (t) => {
  fc.assert(
    fc.property(fc.constantFrom(EDU, E1000E, NVME, GPU), fc.integer({ min: 0, max: 63 }), (dump, word) => {
      const { config } = guest(dump, dump === EDU ? 256 : 4096, { sizes: { 0: 0x4000 } })
      const bytes = [0, 1, 2, 3].map((i) => config.read(word * 4 + i, 1) * 2 ** (8 * i))
      t.is(
        bytes.reduce((sum, each) => sum + each, 0),
        config.read(word * 4, 4),
      )
    }),
  )
})
