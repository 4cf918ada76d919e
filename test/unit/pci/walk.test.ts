// The capability walk on devices that lie, stop answering or show too little, and on random bytes.

import test from 'ava'
import fc from 'fast-check'
import { PciConfig } from '../../../ts/pci/config.js'
import { walkCapabilities, walkExtendedCapabilities } from '../../../ts/pci/walk.js'
import { BufferConfig, E1000E, EDU, GPU, parseDump } from './dump.js'

const kinds = (config: PciConfig): string[] =>
  config.problems().map(({ kind, list, offset }) => `${list} ${kind} ${offset.toString(16)}`)
const offsets = (list: readonly { offset: number }[]): number[] => list.map(({ offset }) => offset)

function edu(edit: (space: BufferConfig) => void): PciConfig {
  const space = parseDump(256, EDU)
  edit(space)
  return new PciConfig(space)
}

function e1000e(edit: (space: BufferConfig) => void): PciConfig {
  const space = parseDump(4096, E1000E)
  edit(space)
  return new PciConfig(space)
}

test('no list without the status bit', (t) => {
  const config = edu((space) => space.write16(0x06, 0))
  t.deepEqual(config.capabilities(), [])
  t.deepEqual(config.problems(), [])
})

test('CardBus bridges keep the pointer elsewhere', (t) => {
  const config = edu((space) => {
    space.write8(0x0e, 2)
    space.write8(0x34, 0)
    space.write8(0x14, 0x40)
  })
  t.deepEqual(offsets(config.capabilities()), [0x40])
})

test('a capability that points to itself', (t) => {
  const config = edu((space) => space.write8(0x41, 0x40))
  t.deepEqual(offsets(config.capabilities()), [0x40])
  t.deepEqual(kinds(config), ['standard loop 40'])
  t.regex(config.problems()[0]?.message ?? '', /0x40 leads back to 0x40/)
})

test('a loop through several capabilities', (t) => {
  const config = e1000e((space) => space.write8(0xa1, 0xc8))
  t.deepEqual(offsets(config.capabilities()), [0xc8, 0xd0, 0xe0, 0xa0])
  t.deepEqual(kinds(config), ['standard loop a0'])
})

test('a misaligned pointer is followed without its low bits, and reported', (t) => {
  const config = edu((space) => space.write8(0x34, 0x43))
  t.deepEqual(offsets(config.capabilities()), [0x40])
  t.deepEqual(kinds(config), ['standard misaligned 34'])
})

test('a misaligned pointer cannot hide a loop', (t) => {
  const config = edu((space) => space.write8(0x41, 0x41))
  t.deepEqual(offsets(config.capabilities()), [0x40])
  t.deepEqual(kinds(config), ['standard misaligned 40', 'standard loop 40'])
})

test('a pointer into the header', (t) => {
  const config = edu((space) => space.write8(0x41, 0x10))
  t.deepEqual(offsets(config.capabilities()), [0x40])
  t.deepEqual(kinds(config), ['standard below-list 40'])
})

test('a capability that reads all ones', (t) => {
  const config = edu((space) => {
    space.write8(0x41, 0x50)
    space.write8(0x50, 0xff)
  })
  t.deepEqual(offsets(config.capabilities()), [0x40])
  t.deepEqual(kinds(config), ['standard all-ones 50'])
})

test('a capability whose registers pass 0x100 is kept without them', (t) => {
  const config = e1000e((space) => {
    space.write8(0x34, 0xfc)
    space.write32(0xfc, 0x0080c805)
  })
  t.deepEqual(config.capabilities()[0], {
    id: 5,
    name: 'unknown',
    title: 'Message Signalled Interrupts',
    offset: 0xfc,
    next: 0xc8,
  })
  t.is(config.capabilities().length, 5)
  t.deepEqual(kinds(config), ['standard truncated fc'])
})

test('a capability whose registers end exactly at 0x100', (t) => {
  const config = edu((space) => {
    space.write8(0x34, 0xf4)
    space.write32(0xf4, 0x00030011)
    space.write32(0xfc, 0x00001002)
  })
  t.deepEqual(config.capability('msix')?.pba, { bar: 2, offset: 0x1000, size: 8 })
  t.deepEqual(config.problems(), [])
})

test('only the header can be read', (t) => {
  const space = parseDump(256, EDU)
  const header = new Uint8Array(64).map((_, offset) => space.read8(offset))
  const config = new PciConfig(new BufferConfig(header))
  t.deepEqual(config.capabilities(), [])
  t.deepEqual(kinds(config), ['standard beyond-space 34'])
})

test('a PCI Express device of which 256 bytes can be read', (t) => {
  const config = new PciConfig(parseDump(256, E1000E.split('\n100:')[0] ?? ''))
  t.is(config.capabilities().length, 4)
  t.deepEqual(config.extendedCapabilities(), [])
  t.deepEqual(kinds(config), ['extended no-extended-space e0'])
})

/** edu, with a list beyond 256 bytes that only PCI Express and PCI-X in mode 2 can have. */
function longEdu(edit: (space: BufferConfig) => void): PciConfig {
  const space = parseDump(4096, `${EDU.trim()}\n100: 03 00 01 00 56 34 12 ff ff 00 54 52`)
  edit(space)
  return new PciConfig(space)
}

test('extended: what a conventional device shows beyond 256 bytes is no list', (t) => {
  const config = longEdu(() => undefined)
  t.is(config.space.size, 4096)
  t.deepEqual(config.extendedCapabilities(), [])
  t.deepEqual(config.problems(), [])
})

test('extended: a bridge that echoes the first 256 bytes invents no capability', (t) => {
  const config = longEdu((space) => {
    for (let offset = 0; offset < 256; offset++) {
      for (let page = 256; page < 4096; page += 256) space.write8(page + offset, space.read8(offset))
    }
  })
  t.deepEqual(config.extendedCapabilities(), [])
  t.deepEqual(config.problems(), [])
})

test('extended: a PCI-X device has a list in mode 2 alone', (t) => {
  const pcix = (status: number, type = 0): PciConfig =>
    longEdu((space) => {
      space.write8(0x0e, type)
      space.write8(0x41, 0x60)
      space.write32(0x60, 0x0007)
      space.write32(0x64, status)
    })
  t.deepEqual(offsets(pcix(0x0003_0000).extendedCapabilities()), [])
  t.deepEqual(offsets(pcix(0x4003_0000).extendedCapabilities()), [0x100])
  t.deepEqual(offsets(pcix(0x8003_0000).extendedCapabilities()), [0x100])
  t.deepEqual(offsets(pcix(0xc003_0000, 1).extendedCapabilities()), [])
  const short = edu((space) => space.write32(0x40, 0x0007))
  t.deepEqual(short.problems(), [])
})

test('extended: an id of all ones that leads nowhere means that there is none', (t) => {
  const config = e1000e((space) => space.write32(0x100, 0x0000ffff))
  t.deepEqual(config.extendedCapabilities(), [])
  t.deepEqual(config.problems(), [])
  // What points on is a capability, whatever its id.
  const other = e1000e((space) => space.write32(0x100, 0x1401ffff))
  t.deepEqual(offsets(other.extendedCapabilities()), [0x100, 0x140])
})

test('extended: a loop', (t) => {
  const config = e1000e((space) => space.write32(0x140, 0x10010003))
  t.deepEqual(offsets(config.extendedCapabilities()), [0x100, 0x140])
  t.deepEqual(kinds(config), ['extended loop 140'])
})

test('extended: a pointer below 0x100', (t) => {
  const config = e1000e((space) => space.write32(0x140, 0x0c010003))
  t.deepEqual(offsets(config.extendedCapabilities()), [0x100, 0x140])
  t.deepEqual(kinds(config), ['extended below-list 140'])
})

test('extended: a misaligned pointer', (t) => {
  const config = e1000e((space) => space.write32(0x100, 0x14210001))
  t.deepEqual(offsets(config.extendedCapabilities()), [0x100, 0x140])
  t.deepEqual(kinds(config), ['extended misaligned 100'])
})

test('extended: a capability at the end of the space', (t) => {
  const config = e1000e((space) => {
    space.write32(0x140, 0xffc10003)
    space.write32(0xffc, 0x00010010)
  })
  t.like(config.extendedCapabilities()[2], { id: 0x10, name: 'unknown', offset: 0xffc, next: 0 })
  t.deepEqual(kinds(config), ['extended truncated ffc'])
})

test('extended: a space that ends early', (t) => {
  const whole = parseDump(4096, GPU)
  const part = new BufferConfig(new Uint8Array(512).map((_, offset) => whole.read8(offset)))
  const config = new PciConfig(part)
  t.deepEqual(offsets(config.extendedCapabilities()), [0x100, 0x140])
  t.deepEqual(kinds(config), ['extended beyond-space 140'])
})

test('extended: all ones where the list would start', (t) => {
  const config = e1000e((space) => space.write32(0x100, 0xffffffff))
  t.deepEqual(config.extendedCapabilities(), [])
  t.deepEqual(kinds(config), ['extended all-ones 100'])
})

test('extended: a first capability that VFIO hid leads to the rest', (t) => {
  const config = e1000e((space) => space.write32(0x100, 0x14000000))
  t.deepEqual(
    config.extendedCapabilities().map(({ name }) => name),
    ['null', 'dsn'],
  )
  t.deepEqual(config.problems(), [])
})

test('extended: an unknown id', (t) => {
  const config = e1000e((space) => space.write32(0x140, 0x0003abcd))
  t.deepEqual(config.extendedCapabilities()[1], {
    id: 0xabcd,
    name: 'unknown',
    title: 'Extended capability 0xabcd',
    offset: 0x140,
    next: 0,
    version: 3,
  })
})

test('what the space itself throws is not swallowed', (t) => {
  const space = parseDump(256, EDU)
  const failing = Object.assign(space, {
    read16: (): number => {
      throw new Error('EIO')
    },
  })
  t.throws(() => walkCapabilities(failing), { message: 'EIO' })
})

/** Random bytes that have a header with a list, so that the walk has something to follow. */
const randomSpace = fc
  .tuple(fc.constantFrom(64, 256, 512, 4096), fc.integer(), fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([size, seed, density]) => {
    let state = seed >>> 0
    const random = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state >>> 24
    }
    const bytes = new Uint8Array(size).map(() => (random() < density * 255 ? random() : 0))
    bytes[0x06] = 0x10
    // Half of them of PCI Express, whose extended list is followed too.
    if (size > 64 && (seed & 1) === 1) bytes.set([0x10], (bytes[0x34] = 0x40))
    return new BufferConfig(bytes)
  })

test('on random bytes the walk ends, stays inside and visits nothing twice', (t) => {
  fc.assert(
    fc.property(randomSpace, (space) => {
      const standard = walkCapabilities(space)
      const extended = walkExtendedCapabilities(space)
      for (const { offset } of standard.capabilities) {
        t.true(offset >= 0x40 && offset <= 0xfe && offset % 4 === 0)
      }
      for (const { offset } of extended.capabilities) {
        t.true(offset >= 0x100 && offset + 4 <= space.size && offset % 4 === 0)
      }
      for (const { capabilities } of [standard, extended]) {
        t.is(new Set(offsets(capabilities)).size, capabilities.length)
      }
      t.true(standard.capabilities.length <= 48)
      t.true(extended.capabilities.length <= 960)
      const header = new PciConfig(space)
      t.true(header.bars.length <= 6)
      t.notThrows(() => [header.status, header.rom, header.subsystem, header.interruptPin, header.problems()])
    }),
    { numRuns: 2000 },
  )
})

test('on random pointers every list ends with its terminator or a problem', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 192, maxLength: 192 }),
      fc.integer({ min: 0, max: 255 }),
      (tail, first) => {
        const bytes = new Uint8Array(256)
        bytes.set(tail, 64)
        bytes[0x06] = 0x10
        bytes[0x34] = first
        const { capabilities, problems } = walkCapabilities(new BufferConfig(bytes))
        const last = capabilities.at(-1)
        const pointer = last === undefined ? first : (bytes[last.offset + 1] ?? 0)
        const stopped = problems.some(
          ({ kind }) =>
            kind === 'loop' || kind === 'below-list' || kind === 'all-ones' || kind === 'beyond-space',
        )
        t.is(stopped, pointer !== 0)
      },
    ),
    { numRuns: 2000 },
  )
})
