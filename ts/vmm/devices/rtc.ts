// The clock of a PC, an MC146818, and the bytes beside it that survive a reset. It has the time, in UTC, and no interrupts: alarms do
// not ring. Its state is shared memory.
import { callable } from '../../validate.js'
import type { BusDevice, Width } from '../bus.js'
import { SharedWords } from './shared.js'

export const RTC_PORT = 0x70
export const RTC_BYTES = 2
export const RTC_IRQ = 8
/** The register of the century, which ACPI names. */
export const CENTURY = 0x32

const REGISTERS = 128
const TIME = { seconds: 0, minutes: 2, hours: 4, weekday: 6, day: 7, month: 8, year: 9 } as const
const TIME_REGISTERS: readonly number[] = [...Object.values(TIME), CENTURY]
const STATUS = { a: 0x0a, b: 0x0b, c: 0x0c, d: 0x0d } as const
/** The usual crystal and rate. */
const DIVIDER = 0x26
const BINARY = 0x04
const HOURS_24 = 0x02
const SET = 0x80
const PM = 0x80
const VALID = 0x80

// Words of the state: the registers, which of them is named, and how many seconds the guest's time is ahead.
const INDEX = REGISTERS
const AHEAD = INDEX + 1
const WORDS = AHEAD + 1

export class Rtc implements BusDevice {
  readonly #state: SharedWords
  readonly #now: () => number

  /** @param now milliseconds since 1970 */
  constructor(state: SharedArrayBuffer, now: () => number = Date.now) {
    this.#state = new SharedWords(state, WORDS)
    this.#now = callable(now, 'now')
  }

  /** Memory for one clock, which goes right. */
  static state(): SharedArrayBuffer {
    const memory = SharedWords.memory(WORDS)
    const state = new SharedWords(memory)
    state.set(STATUS.a, DIVIDER)
    state.set(STATUS.b, HOURS_24)
    return memory
  }

  read(offset: number): number {
    if (offset === 0) return 0xff
    return this.#state.locked(() => {
      const index = this.#state.get(INDEX)
      if (TIME_REGISTERS.includes(index) && !this.#stopped) return this.#time(index)
      if (index === STATUS.c) return 0
      return index === STATUS.d ? VALID : this.#state.get(index)
    })
  }

  write(offset: number, _width: Width, value: number): void {
    this.#state.locked(() => {
      if (offset === 0) this.#state.set(INDEX, value & (REGISTERS - 1))
      else this.#set(this.#state.get(INDEX), value & 0xff)
    })
  }

  /** Whether the guest is setting the time: the registers stay as they are then. */
  get #stopped(): boolean {
    return (this.#state.get(STATUS.b) & SET) !== 0
  }

  #set(index: number, value: number): void {
    const state = this.#state
    if (index === STATUS.c || index === STATUS.d) return
    if (index !== STATUS.b) {
      // A clock that goes takes no time.
      if (this.#stopped || !TIME_REGISTERS.includes(index)) state.set(index, value)
      return
    }
    const [was, will] = [this.#stopped, (value & SET) !== 0]
    if (!was && will) for (const each of TIME_REGISTERS) state.set(each, this.#time(each))
    state.set(STATUS.b, value)
    if (was && !will) this.#start()
  }

  /** The clock goes on from what the guest has set. */
  #start(): void {
    const value = (index: number): number => this.#decoded(this.#state.get(index))
    const raw = this.#state.get(TIME.hours)
    const hours = this.#hours24 ? value(TIME.hours) : (this.#decoded(raw & ~PM) % 12) + (raw & PM ? 12 : 0)
    const year = value(CENTURY) * 100 + value(TIME.year)
    const set = Date.UTC(
      year,
      value(TIME.month) - 1,
      value(TIME.day),
      hours,
      value(TIME.minutes),
      value(TIME.seconds),
    )
    const ahead = Math.floor((set - this.#now()) / 1000)
    // A word holds 68 years to either side; who sets more gets as much.
    this.#state.set(AHEAD, Math.max(-0x8000_0000, Math.min(0x7fff_ffff, ahead)))
  }

  #time(index: number): number {
    const time = new Date(this.#now() + this.#state.get(AHEAD) * 1000)
    switch (index) {
      case TIME.seconds:
        return this.#encoded(time.getUTCSeconds())
      case TIME.minutes:
        return this.#encoded(time.getUTCMinutes())
      case TIME.hours: {
        const hours = time.getUTCHours()
        if (this.#hours24) return this.#encoded(hours)
        return this.#encoded(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? PM : 0)
      }
      case TIME.weekday:
        return this.#encoded(time.getUTCDay() + 1)
      case TIME.day:
        return this.#encoded(time.getUTCDate())
      case TIME.month:
        return this.#encoded(time.getUTCMonth() + 1)
      case TIME.year:
        return this.#encoded(time.getUTCFullYear() % 100)
      default:
        return this.#encoded(Math.floor(time.getUTCFullYear() / 100) % 100)
    }
  }

  get #hours24(): boolean {
    return (this.#state.get(STATUS.b) & HOURS_24) !== 0
  }

  get #binary(): boolean {
    return (this.#state.get(STATUS.b) & BINARY) !== 0
  }

  #encoded(value: number): number {
    return this.#binary ? value : (Math.floor(value / 10) << 4) | (value % 10)
  }

  #decoded(value: number): number {
    return this.#binary ? value : (value >> 4) * 10 + (value & 0xf)
  }
}
