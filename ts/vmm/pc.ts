// The small devices of a PC together: serial port, clock, power management, keyboard controller. Each processor's Worker has an object of
// them over the same state, so that no access to them leaves the Worker; the main thread has one too, to send and to press.
import { callable, instance, object } from '../validate.js'
import { Bus } from './bus.js'
import { KEYBOARD_COMMAND_PORT, KeyboardReset } from './devices/keyboard.js'
import { POWER_BYTES, POWER_PORTS, Power, SCI } from './devices/power.js'
import { RTC_BYTES, RTC_PORT, Rtc } from './devices/rtc.js'
import { SERIAL_BYTES, SERIAL_IRQ, SERIAL_PORT, Serial, type SerialState } from './devices/serial.js'

/** Memory of the devices: what Workers are given. */
export interface PcState {
  readonly serial: SerialState
  readonly rtc: SharedArrayBuffer
  readonly power: SharedArrayBuffer
}

/** What the devices do to what is around them. */
export interface PcEffects {
  /** Gets each byte that the guest sends over its serial port. */
  readonly transmit: (byte: number) => void
  /** Sets a line of the interrupt controllers: `vm.setIrqLine`. */
  readonly line: (gsi: number, level: boolean) => void
  /** The guest has turned its machine off. */
  readonly off: () => void
  /** The guest wants to begin anew. */
  readonly reset: () => void
}

/** State as after power-on. */
export function pcState(): PcState {
  return { serial: Serial.state(), rtc: Rtc.state(), power: Power.state() }
}

export class Pc {
  readonly serial: Serial
  readonly power: Power
  readonly #rtc: Rtc
  readonly #keyboard: KeyboardReset

  constructor(state: PcState, effects: PcEffects) {
    const { serial, rtc, power } = object(state, 'state')
    const { transmit, line, off, reset } = object(effects, 'effects')
    callable(line, 'line')
    this.serial = new Serial(serial, {
      transmit,
      line: (level) => {
        line(SERIAL_IRQ, level)
      },
    })
    this.power = new Power(power, {
      off,
      reset,
      line: (level) => {
        line(SCI, level)
      },
    })
    this.#rtc = new Rtc(rtc)
    this.#keyboard = new KeyboardReset(reset)
  }

  /** Attaches all of them to their ports. */
  attach(bus: Bus): void {
    instance(bus, Bus, 'bus')
    bus.attachPorts(SERIAL_PORT, SERIAL_BYTES, this.serial)
    bus.attachPorts(RTC_PORT, RTC_BYTES, this.#rtc)
    bus.attachPorts(KEYBOARD_COMMAND_PORT, 1, this.#keyboard)
    bus.attachPorts(POWER_PORTS, POWER_BYTES, this.power)
  }
}
