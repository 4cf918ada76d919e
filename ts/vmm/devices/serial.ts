// A serial port 16550A, with its interrupts. What it transmits goes out at once, so the transmitter is always empty. Its state is
// shared memory, so that each thread may have an object of it. Who carries the bytes away is its maker's business.
import { bytes as bytesOf, callable, object } from '../../validate.js'
import type { BusDevice, Width } from '../bus.js'
import { ByteRing, SharedWords } from './shared.js'

/** COM1 of a PC. */
export const SERIAL_PORT = 0x3f8
export const SERIAL_BYTES = 8
export const SERIAL_IRQ = 4

const REGISTER = {
  data: 0,
  interrupts: 1,
  identification: 2,
  line: 3,
  modem: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const

// Words of the state. The registers that are kept as they were written have their own numbers.
const FIFO = 8
const DIVISOR_LOW = 9
const DIVISOR_HIGH = 10
const EMPTIED = 11
const OVERRUN = 12
const RAISED = 13
const WORDS = 14

const INTERRUPT = { received: 0x01, empty: 0x02, lineStatus: 0x04 } as const
const INTERRUPTS_MASK = 0x0f
const CAUSE = { none: 0x01, empty: 0x02, received: 0x04, lineStatus: 0x06, timeout: 0x0c } as const
const FIFOS_ON = 0xc0
const FIFO_ENABLE = 0x01
const FIFO_CLEAR_RECEIVED = 0x02
const TRIGGERS = [1, 4, 8, 14] as const
const DIVISOR_ACCESS = 0x80
const LOOP_BACK = 0x10
const MODEM_MASK = 0x1f
const RECEIVED = 0x01
const OVERRUN_ERROR = 0x02
const TRANSMITTER_EMPTY = 0x60
/** The other side is there, ready, and lets us send. */
const CONNECTED = 0xb0

/** Bytes that wait for a guest which does not read them. */
const INPUT_BYTES = 4096

/** Memory of a serial port, to be given to every thread that has an object of it. */
export interface SerialState {
  readonly registers: SharedArrayBuffer
  readonly input: SharedArrayBuffer
}

export interface SerialOptions {
  /** Gets each byte that the guest sends. */
  readonly transmit: (byte: number) => void
  /** Sets the port's interrupt line. Called for changes only. */
  readonly line: (level: boolean) => void
}

export class Serial implements BusDevice {
  readonly #state: SharedWords
  readonly #input: ByteRing
  readonly #transmit: (byte: number) => void
  readonly #line: (level: boolean) => void

  constructor(state: SerialState, options: SerialOptions) {
    const { registers, input } = object(state, 'state')
    const { transmit, line } = object(options, 'options')
    this.#state = new SharedWords(registers, WORDS)
    this.#input = new ByteRing(input)
    this.#transmit = callable(transmit, 'transmit')
    this.#line = callable(line, 'line')
  }

  /** Memory for one port, as after a reset. */
  static state(): SerialState {
    return { registers: SharedWords.memory(WORDS), input: ByteRing.memory(INPUT_BYTES) }
  }

  /** Sends to the guest. @returns how many of the bytes there was room for */
  send(bytes: Uint8Array): number {
    bytesOf(bytes, 'bytes')
    return this.#state.locked(() => {
      let sent = 0
      while (sent < bytes.length && this.#input.put(bytes[sent] ?? 0)) sent++
      this.#update()
      return sent
    })
  }

  read(offset: number): number {
    return this.#state.locked(() => {
      const value = this.#read(offset)
      this.#update()
      return value
    })
  }

  write(offset: number, _width: Width, value: number): void {
    const sent = this.#state.locked(() => {
      const byte = this.#write(offset, value & 0xff)
      this.#update()
      return byte
    })
    // Outside of the lock: it may take its time.
    if (sent !== undefined) this.#transmit(sent)
  }

  get #divisorAccess(): boolean {
    return (this.#state.get(REGISTER.line) & DIVISOR_ACCESS) !== 0
  }

  get #loopBack(): boolean {
    return (this.#state.get(REGISTER.modem) & LOOP_BACK) !== 0
  }

  #read(offset: number): number {
    const state = this.#state
    if (offset <= REGISTER.interrupts && this.#divisorAccess) return state.get(DIVISOR_LOW + offset)
    switch (offset) {
      case REGISTER.data:
        return this.#input.take() ?? 0
      case REGISTER.identification: {
        const cause = this.#cause()
        if (cause === CAUSE.empty) state.set(EMPTIED, 0)
        return cause | ((state.get(FIFO) & FIFO_ENABLE) === 0 ? 0 : FIFOS_ON)
      }
      case REGISTER.lineStatus: {
        const overrun = state.get(OVERRUN)
        state.set(OVERRUN, 0)
        return TRANSMITTER_EMPTY | overrun | (this.#input.length > 0 ? RECEIVED : 0)
      }
      case REGISTER.modemStatus:
        return this.#modemStatus()
      default:
        return state.get(offset)
    }
  }

  /** @returns what is to be transmitted */
  #write(offset: number, value: number): number | undefined {
    const state = this.#state
    if (offset <= REGISTER.interrupts && this.#divisorAccess) {
      state.set(offset === 0 ? DIVISOR_LOW : DIVISOR_HIGH, value)
      return undefined
    }
    switch (offset) {
      case REGISTER.data:
        state.set(EMPTIED, 1)
        if (!this.#loopBack) return value
        if (!this.#input.put(value)) state.set(OVERRUN, OVERRUN_ERROR)
        break
      case REGISTER.interrupts: {
        const enabled = value & ~state.get(REGISTER.interrupts)
        // Who turns it on is told at once that the transmitter is empty.
        if ((enabled & INTERRUPT.empty) !== 0) state.set(EMPTIED, 1)
        state.set(REGISTER.interrupts, value & INTERRUPTS_MASK)
        break
      }
      case REGISTER.identification:
        if ((value & FIFO_CLEAR_RECEIVED) !== 0) this.#input.clear()
        state.set(FIFO, value)
        break
      case REGISTER.modem:
        state.set(REGISTER.modem, value & MODEM_MASK)
        break
      case REGISTER.line:
      case REGISTER.scratch:
        state.set(offset, value)
        break
      // The status registers are read-only.
    }
    return undefined
  }

  /** What the interrupt is for, the most urgent first. */
  #cause(): number {
    const enabled = this.#state.get(REGISTER.interrupts)
    if ((enabled & INTERRUPT.lineStatus) !== 0 && this.#state.get(OVERRUN) !== 0) return CAUSE.lineStatus
    const waiting = this.#input.length
    if ((enabled & INTERRUPT.received) !== 0 && waiting > 0) {
      const fifo = this.#state.get(FIFO)
      const trigger = (fifo & FIFO_ENABLE) === 0 ? 1 : (TRIGGERS[(fifo >> 6) & 3] ?? 1)
      // Fewer than that count as having waited long enough.
      return waiting >= trigger ? CAUSE.received : CAUSE.timeout
    }
    if ((enabled & INTERRUPT.empty) !== 0 && this.#state.get(EMPTIED) !== 0) return CAUSE.empty
    return CAUSE.none
  }

  #update(): void {
    const raised = this.#cause() === CAUSE.none ? 0 : 1
    if (raised === this.#state.get(RAISED)) return
    this.#state.set(RAISED, raised)
    this.#line(raised === 1)
  }

  /** In loop-back, by which drivers find out that a port is there, the outputs come back in. */
  #modemStatus(): number {
    if (!this.#loopBack) return CONNECTED
    const modem = this.#state.get(REGISTER.modem)
    return ((modem & 0x0c) << 4) | ((modem & 0x02) << 3) | ((modem & 0x01) << 5)
  }
}
