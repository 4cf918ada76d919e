// What of a PC's keyboard controller guests use without a keyboard: its reset of the machine. It has no keys, no state and no
// interrupts.
import { callable } from '../../validate.js'
import type { BusDevice, Width } from '../bus.js'

/** From its data register on; the other ports between are not its own. */
export const KEYBOARD_DATA_PORT = 0x60
export const KEYBOARD_COMMAND_PORT = 0x64

/** Pulses the line that resets the processor; the low bits name the lines that are left alone. */
const PULSE = 0xf0
const NOT_RESET = 0x01
/** The controller has passed its own test. */
const STATUS = 0x04

/** The command port. A data port has nothing to read. */
export class KeyboardReset implements BusDevice {
  readonly #reset: () => void

  constructor(reset: () => void) {
    this.#reset = callable(reset, 'reset')
  }

  read(): number {
    return STATUS
  }

  write(_offset: number, _width: Width, value: number): void {
    if ((value & PULSE) === PULSE && (value & NOT_RESET) === 0) this.#reset()
  }
}
