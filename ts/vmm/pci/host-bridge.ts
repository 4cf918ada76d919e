// PCI bus 0 of a guest: which function sits where, and the two ways to its configuration space: ports (configuration mechanism #1) and
// memory (ECAM). It must not know what the functions are.
import * as regs from '../../pci/registers.js'
import { callable, integer, object } from '../../validate.js'
import type { BusDevice, Width } from '../bus.js'
import type { PciFunction, PluggedFunction } from './function.js'
import { SLOTS } from './lines.js'

export const CONFIG_PORT = 0xcf8
export const CONFIG_PORTS = 8

const FUNCTIONS = 8
const CONFIG_SHIFT = 12
const CONFIG_MASK = 0xfff
const DATA = 4
const ENABLED = 0x8000_0000
/** The byte port within the address port, by which chipsets are reset. */
const RESET_CONTROL = 1
const RESET_NOW = 0x04

const HEADER_TYPE = 0x0e
const MULTI_FUNCTION = 0x80

const ones = (width: Width): number => 2 ** (8 * width) - 1

/** The bridge itself, by which kernels see that there is a bus. It has nothing to set. */
function bridge(): PciFunction {
  const registers = new DataView(new ArrayBuffer(256))
  registers.setUint32(regs.PCI_VENDOR_ID, 0x0008_1b36, true)
  registers.setUint32(regs.PCI_CLASS_REVISION, 0x0600_0000, true)
  return {
    readConfig(offset, width) {
      if (offset >= registers.byteLength) return ones(width)
      if (width === 4) return registers.getUint32(offset, true)
      return width === 2 ? registers.getUint16(offset, true) : registers.getUint8(offset)
    },
    writeConfig() {
      // Read-only.
    },
  }
}

export interface PciHostOptions {
  /** The guest wants to begin anew, by the chipset's port. */
  readonly reset?: () => void
}

export class PciHost {
  /** The address and data ports, at `CONFIG_PORT`. */
  readonly ports: BusDevice
  /** The configuration spaces as memory, 4 KiB for each function. */
  readonly ecam: BusDevice
  readonly #functions = new Map<number, PciFunction>()
  readonly #reset: () => void
  #address = 0

  constructor(options: PciHostOptions = {}) {
    const { reset = () => undefined } = object(options, 'options')
    this.#reset = callable(reset, 'reset')
    this.#functions.set(0, bridge())
    this.ports = {
      read: (offset, width) => this.#readPort(offset, width),
      write: (offset, width, value) => {
        this.#writePort(offset, width, value)
      },
    }
    this.ecam = {
      read: (offset, width) => this.#read(offset >>> CONFIG_SHIFT, offset & CONFIG_MASK, width),
      write: (offset, width, value) => {
        this.#functions.get(offset >>> CONFIG_SHIFT)?.writeConfig(offset & CONFIG_MASK, width, value)
      },
    }
  }

  /**
   * Puts a function into a slot.
   * @param slot 1 to 31; slot 0 is the bridge's
   * @param number 0 (the default) to 7; a guest finds the others only beside function 0
   * @returns what takes it out again
   * @throws RangeError where another one is
   */
  plug(slot: number, pciFunction: PciFunction, number = 0): () => void {
    integer(slot, 'slot', 1, SLOTS - 1)
    integer(number, 'number', 0, FUNCTIONS - 1)
    const place = slot * FUNCTIONS + number
    if (this.#functions.has(place)) throw new RangeError(`slot ${slot} has a function ${number} already`)
    this.#functions.set(place, object(pciFunction, 'pciFunction'))
    return () => {
      if (this.#functions.get(place) === pciFunction) this.#functions.delete(place)
    }
  }

  /** What is plugged in, without the bridge, by slot. */
  get functions(): PluggedFunction[] {
    return [...this.#functions]
      .filter(([place]) => place >= FUNCTIONS)
      .sort(([a], [b]) => a - b)
      .map(([place, pciFunction]) => ({
        slot: Math.floor(place / FUNCTIONS),
        number: place % FUNCTIONS,
        pciFunction,
      }))
  }

  #read(place: number, offset: number, width: Width): number {
    const value = this.#functions.get(place)?.readConfig(offset, width) ?? ones(width)
    const shift = HEADER_TYPE - offset
    // Function 0 says whether there are others.
    if (place % FUNCTIONS !== 0 || shift < 0 || shift >= width || !this.#hasOthers(place)) return value
    return (value | (MULTI_FUNCTION << (8 * shift))) >>> 0
  }

  #hasOthers(place: number): boolean {
    for (let other = place + 1; other < place + FUNCTIONS; other++)
      if (this.#functions.has(other)) return this.#functions.has(place)
    return false
  }

  #readPort(offset: number, width: Width): number {
    if (offset >= DATA) {
      const place = this.#selected
      return place === undefined ? ones(width) : this.#read(place, this.#register(offset), width)
    }
    return width === 4 ? this.#address : ones(width)
  }

  #writePort(offset: number, width: Width, value: number): void {
    if (offset >= DATA) {
      const place = this.#selected
      if (place !== undefined) this.#functions.get(place)?.writeConfig(this.#register(offset), width, value)
    } else if (width === 4) {
      this.#address = value
    } else if (offset === RESET_CONTROL && (value & RESET_NOW) !== 0) {
      this.#reset()
    }
  }

  #register(offset: number): number {
    return (this.#address & 0xfc) + offset - DATA
  }

  /** Which function the address names: bits 8 to 23 are bus, slot and function, and there is only bus 0. */
  get #selected(): number | undefined {
    if ((this.#address & ENABLED) === 0) return undefined
    const place = (this.#address >>> 8) & 0xffff
    return place < SLOTS * FUNCTIONS ? place : undefined
  }
}
