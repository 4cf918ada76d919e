// A serial port as far as a guest needs one to print: a 16550A without input. What it transmits goes out at once, so the
// line is always empty.
import type { BusDevice } from './bus.js'

export const SERIAL_PORT = 0x3f8n
export const SERIAL_LENGTH = 8
/** Its interrupt on a PC. */
export const SERIAL_IRQ = 4

const REGISTER = {
  data: 0,
  interrupts: 1,
  identification: 2,
  line: 3,
  modem: 4,
  lineStatus: 5,
  modemStatus: 6,
} as const
const EMPTY_INTERRUPT = 0x02
const IDENTIFIED_NONE = 0x01
const IDENTIFIED_EMPTY = 0x02
const FIFO_ENABLED = 0xc0
const DIVISOR_ACCESS = 0x80
const LOOP_BACK = 0x10
const LINE_EMPTY = 0x60
const CONNECTED = 0xb0

export class Serial implements BusDevice {
  readonly #print: (text: string) => void
  readonly #interrupt: () => void
  readonly #registers = new Uint8Array(SERIAL_LENGTH)
  readonly #divisor = new Uint8Array(2)
  #fifo = false
  #emptied = false

  /**
   * @param print gets each character that the guest sends
   * @param interrupt raises the port's interrupt, an edge
   */
  constructor(print: (text: string) => void, interrupt: () => void) {
    this.#print = print
    this.#interrupt = interrupt
  }

  read(offset: number): bigint {
    return BigInt(this.#read(offset))
  }

  write(offset: number, _size: number, value: bigint): void {
    this.#write(offset, Number(value & 0xffn))
  }

  get #divisorAccess(): boolean {
    return ((this.#registers[REGISTER.line] ?? 0) & DIVISOR_ACCESS) !== 0
  }

  #read(offset: number): number {
    if (offset <= REGISTER.interrupts && this.#divisorAccess) return this.#divisor[offset] ?? 0
    switch (offset) {
      case REGISTER.data:
        return 0
      case REGISTER.identification: {
        const fifo = this.#fifo ? FIFO_ENABLED : 0
        if (!this.#emptied) return IDENTIFIED_NONE | fifo
        this.#emptied = false
        return IDENTIFIED_EMPTY | fifo
      }
      case REGISTER.lineStatus:
        return LINE_EMPTY
      case REGISTER.modemStatus:
        return this.#modemStatus()
      default:
        return this.#registers[offset] ?? 0
    }
  }

  #write(offset: number, value: number): void {
    if (offset <= REGISTER.interrupts && this.#divisorAccess) {
      this.#divisor[offset] = value
      return
    }
    if (offset === REGISTER.identification) {
      this.#fifo = (value & 1) !== 0
      return
    }
    if (offset === REGISTER.data) {
      if (((this.#registers[REGISTER.modem] ?? 0) & LOOP_BACK) === 0) this.#print(String.fromCharCode(value))
    } else {
      this.#registers[offset] = value
    }
    if (offset <= REGISTER.interrupts) this.#announceEmpty()
  }

  /** The transmitter is empty again, or the guest wants to hear of it now. */
  #announceEmpty(): void {
    if (((this.#registers[REGISTER.interrupts] ?? 0) & EMPTY_INTERRUPT) === 0) return
    this.#emptied = true
    this.#interrupt()
  }

  /** In loop-back, by which drivers find out that a port is there, the outputs come back in. */
  #modemStatus(): number {
    const modem = this.#registers[REGISTER.modem] ?? 0
    if ((modem & LOOP_BACK) === 0) return CONNECTED
    return ((modem & 0x0c) << 4) | ((modem & 0x02) << 3) | ((modem & 0x01) << 5)
  }
}
