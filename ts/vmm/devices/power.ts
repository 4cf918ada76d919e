// Power management as ACPI's fixed registers have it: the power button, turning the machine off, its timer, its reset. Its state is
// shared memory. What off and reset mean is its maker's business.
import { callable, object } from '../../validate.js'
import type { BusDevice, Width } from '../bus.js'
import { SharedWords } from './shared.js'

export const POWER_PORTS = 0x600
export const POWER_BYTES = 16

const OFFSET = { status: 0, enable: 2, control: 4, timer: 8, reset: 12 } as const

/** The ports that the FADT names. */
export const PM = {
  event: POWER_PORTS + OFFSET.status,
  control: POWER_PORTS + OFFSET.control,
  timer: POWER_PORTS + OFFSET.timer,
  reset: POWER_PORTS + OFFSET.reset,
} as const

/** The interrupt of ACPI. */
export const SCI = 9
/** What is written to the reset register. */
export const RESET_VALUE = 1
/** What `_S5` says is off. */
export const SLEEP_TYPE_OFF = 5

const POWER_BUTTON = 1 << 8
const ENABLE_MASK = 0x0521
const SCI_ENABLED = 1
const SLEEP_TYPE_SHIFT = 10
const SLEEP_TYPE_MASK = 7 << SLEEP_TYPE_SHIFT
const SLEEP = 1 << 13
/** Ticks of the timer in a second. */
const TIMER_HERTZ = 3_579_545n
const NANOSECONDS = 1_000_000_000n

const STATUS = 0
const ENABLE = 1
const CONTROL = 2
const RAISED = 3
const WORDS = 4

export interface PowerOptions {
  /** The guest has turned its machine off. */
  readonly off: () => void
  /** The guest wants to begin anew. */
  readonly reset: () => void
  /** Sets the line of ACPI's interrupt. Called for changes only. */
  readonly line: (level: boolean) => void
  /** Nanoseconds of a clock that only goes forward (default: the machine's). */
  readonly clock?: () => bigint
}

export class Power implements BusDevice {
  readonly #state: SharedWords
  readonly #off: () => void
  readonly #reset: () => void
  readonly #line: (level: boolean) => void
  readonly #clock: () => bigint

  constructor(state: SharedArrayBuffer, options: PowerOptions) {
    const { off, reset, line, clock = () => process.hrtime.bigint() } = object(options, 'options')
    this.#state = new SharedWords(state, WORDS)
    this.#off = callable(off, 'off')
    this.#reset = callable(reset, 'reset')
    this.#line = callable(line, 'line')
    this.#clock = callable(clock, 'clock')
  }

  static state(): SharedArrayBuffer {
    return SharedWords.memory(WORDS)
  }

  /** Presses the power button: a guest that listens turns itself off. */
  pressButton(): void {
    this.#state.locked(() => {
      this.#state.set(STATUS, this.#state.get(STATUS) | POWER_BUTTON)
      this.#update()
    })
  }

  read(offset: number, width: Width): number {
    const word = offset & ~3
    const value =
      word === OFFSET.timer
        ? this.#timer()
        : word === OFFSET.status
          ? this.#state.get(STATUS) | (this.#state.get(ENABLE) << 16)
          : word === OFFSET.control
            ? this.#state.get(CONTROL) | SCI_ENABLED
            : 0
    const part = value >>> (8 * (offset - word))
    return width === 4 ? part >>> 0 : part & (width === 2 ? 0xffff : 0xff)
  }

  write(offset: number, width: Width, value: number): void {
    if (offset === OFFSET.reset) {
      if ((value & 0xff) === RESET_VALUE) this.#reset()
      return
    }
    const off = this.#state.locked(() => {
      let slept = false
      for (let i = 0; i < width && i < 4; i++)
        slept = this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff) || slept
      this.#update()
      return slept
    })
    if (off) this.#off()
  }

  /** @returns whether that turned the machine off */
  #writeByte(offset: number, byte: number): boolean {
    const state = this.#state
    const shift = 8 * (offset & 1)
    const replaced = (word: number): number => (state.get(word) & ~(0xff << shift)) | (byte << shift)
    switch (offset & ~1) {
      case OFFSET.status:
        // Ones take what they name away.
        state.set(STATUS, state.get(STATUS) & ~(byte << shift))
        return false
      case OFFSET.enable:
        state.set(ENABLE, replaced(ENABLE) & ENABLE_MASK)
        return false
      case OFFSET.control: {
        const control = replaced(CONTROL)
        // The bit that begins to sleep is never kept.
        state.set(CONTROL, control & ~SLEEP)
        return (control & SLEEP) !== 0 && (control & SLEEP_TYPE_MASK) >> SLEEP_TYPE_SHIFT === SLEEP_TYPE_OFF
      }
      default:
        return false
    }
  }

  #timer(): number {
    return Number(BigInt.asUintN(32, (this.#clock() * TIMER_HERTZ) / NANOSECONDS))
  }

  #update(): void {
    const raised = (this.#state.get(STATUS) & this.#state.get(ENABLE)) === 0 ? 0 : 1
    if (raised === this.#state.get(RAISED)) return
    this.#state.set(RAISED, raised)
    this.#line(raised === 1)
  }
}
