// Clock, power management and keyboard controller, by the accesses that drivers make.
import test from 'ava'

import { ByteRing, SharedWords } from '../../../ts/vmm/devices/shared.js'
import { KeyboardReset, Power, Rtc } from '../../../ts/vmm/index.js'

const MOMENT = Date.UTC(2031, 10, 30, 17, 8, 9)

function clock(): { get(index: number): number; set(index: number, value: number): void; now: number } {
  const made = {
    now: MOMENT,
    get: (index: number) => {
      rtc.write(0, 1, index)
      return rtc.read(1)
    },
    set: (index: number, value: number) => {
      rtc.write(0, 1, index)
      rtc.write(1, 1, value)
    },
  }
  const rtc = new Rtc(Rtc.state(), () => made.now)
  return made
}

const time = (rtc: { get(index: number): number }): number[] => [0x32, 9, 8, 7, 4, 2, 0].map(rtc.get)

test('clock: the time in UTC, in BCD of 24 hours as after power-on', (t) => {
  const rtc = clock()
  t.deepEqual(time(rtc), [0x20, 0x31, 0x11, 0x30, 0x17, 0x08, 0x09])
  t.is(rtc.get(6), 1, 'a Sunday')
  t.deepEqual([rtc.get(0x0a) & 0x80, rtc.get(0x0b), rtc.get(0x0c), rtc.get(0x0d)], [0, 2, 0, 0x80])
})

test('clock: in binary, and of 12 hours, for who wants that', (t) => {
  const rtc = clock()
  rtc.set(0x0b, 0x06)
  t.deepEqual(time(rtc), [20, 31, 11, 30, 17, 8, 9])
  rtc.set(0x0b, 0x00)
  t.is(rtc.get(4), 0x85, 'five in the afternoon')
  rtc.now -= 17 * 3_600_000
  t.is(rtc.get(4), 0x12, 'midnight')
})

test('clock: a guest sets it, and it goes on from there', (t) => {
  const rtc = clock()
  rtc.set(0, 0x59)
  t.is(rtc.get(0), 0x09, 'a clock that goes takes no time')
  rtc.set(0x0b, 0x82)
  t.deepEqual(time(rtc), [0x20, 0x31, 0x11, 0x30, 0x17, 0x08, 0x09])
  for (const [index, value] of [
    [9, 0x30],
    [8, 0x02],
    [7, 0x28],
    [4, 0x23],
    [2, 0x59],
    [0, 0x58],
  ] as const)
    rtc.set(index, value)
  rtc.now += 5000
  t.is(rtc.get(0), 0x58, 'it stands while it is set')
  rtc.set(0x0b, 0x02)
  rtc.now += 3000
  t.deepEqual(time(rtc), [0x20, 0x30, 0x03, 0x01, 0x00, 0x00, 0x01])
})

test('clock: the other bytes keep what is written, and nothing that is set breaks it', (t) => {
  const rtc = clock()
  rtc.set(0x0f, 0x0a)
  t.is(rtc.get(0x8f), 0x0a, 'the top bit of the index is not its own')
  rtc.set(0x0b, 0x82)
  for (const index of [9, 8, 7, 4, 2, 0, 0x32]) rtc.set(index, 0xff)
  rtc.set(0x0b, 0x02)
  t.true(time(rtc).every((value) => value >= 0 && value <= 0xff))
})

interface Machine {
  told: string[]
  clock: bigint
  power: Power
  in(offset: number, width?: 1 | 2 | 4): number
  out(offset: number, value: number, width?: 1 | 2 | 4): void
}

function machine(): Machine {
  const made: Machine = {
    told: [],
    clock: 0n,
    power: new Power(Power.state(), {
      off: () => made.told.push('off'),
      reset: () => made.told.push('reset'),
      line: (level) => made.told.push(level ? 'up' : 'down'),
      clock: () => made.clock,
    }),
    in: (offset, width = 2) => made.power.read(offset, width),
    out: (offset, value, width = 2) => {
      made.power.write(offset, width, value)
    },
  }
  return made
}

test('power: off by the sleep type of S5, and by no other', (t) => {
  const { told, in: read, out } = machine()
  t.is(read(4), 1, 'ACPI is on')
  out(4, (1 << 10) | (1 << 13))
  out(4, 5 << 10)
  t.deepEqual(told, [])
  t.is(read(4), (5 << 10) | 1)
  out(4, (5 << 10) | (1 << 13))
  t.deepEqual(told, ['off'])
  t.is(read(4), (5 << 10) | 1, 'the bit that begins to sleep is not kept')
  out(5, 0x34, 1)
  t.deepEqual(told, ['off', 'off'], 'by the upper byte alone')
})

test('power: the button interrupts who listens, until it is acknowledged', (t) => {
  const { told, power, in: read, out } = machine()
  power.pressButton()
  t.deepEqual(told, [])
  t.is(read(0), 0x100)
  out(2, 0x100)
  t.is(read(0, 4), 0x0100_0100)
  power.pressButton()
  t.deepEqual(told, ['up'])
  out(0, 0x021)
  t.deepEqual(told, ['up'], 'another bit')
  out(0, 0x100)
  t.deepEqual(told, ['up', 'down'])
  t.is(read(0), 0)
})

test('power: the timer counts at its rate and wraps at 32 bits', (t) => {
  const made = machine()
  t.is(made.in(8, 4), 0)
  made.clock = 1_000_000_000n
  t.is(made.in(8, 4), 3_579_545)
  made.clock = 1_200_000_000_000n
  t.is(made.in(8, 4), (3_579_545 * 1200) % 2 ** 32)
  t.is(made.in(9, 1), ((3_579_545 * 1200) >>> 8) & 0xff)
})

test('power: reset by the register that the FADT names, with its value only', (t) => {
  const { told, out } = machine()
  out(12, 0, 1)
  out(13, 1, 1)
  t.deepEqual(told, [])
  out(12, 1, 1)
  t.deepEqual(told, ['reset'])
})

test('keyboard: the pulse on the reset line resets, other commands do nothing', (t) => {
  let resets = 0
  const keyboard = new KeyboardReset(() => resets++)
  for (const command of [0xaa, 0xd1, 0x20, 0xff, 0xef]) keyboard.write(0, 1, command)
  t.is(resets, 0)
  t.is(keyboard.read() & 0x02, 0, 'ready for a command')
  keyboard.write(0, 1, 0xfe)
  t.is(resets, 1)
})

test('shared state: a ring wraps, and is bounded', (t) => {
  const ring = new ByteRing(ByteRing.memory(4))
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 4; i++) t.true(ring.put(round * 4 + i))
    t.false(ring.put(99))
    t.deepEqual(
      [...ring.takeAll()],
      [0, 1, 2, 3].map((i) => round * 4 + i),
    )
    t.is(ring.take(), undefined)
  }
})

test('shared state: a lock whose holder was ended is taken over', (t) => {
  const state = new SharedWords(SharedWords.memory(1))
  Atomics.store(state.words, 0, 1)
  t.is(
    state.locked(() => 5),
    5,
  )
  t.is(state.words[0], 0)
})
