// The PCI bus of the machine: configuration mechanism #1, through which a guest reaches the configuration space of what sits
// in a slot. Bus 0 only.
import type { BusDevice } from './bus.js'

export const CONFIG_PORT = 0xcf8n
export const CONFIG_LENGTH = 8

const DATA = 4
const ENABLED = 0x8000_0000

/** The configuration space of a function. */
export interface PciFunction {
  readConfig(offset: number, size: number): number
  writeConfig(offset: number, size: number, value: number): void
}

const HOST_BRIDGE_REGISTERS = new DataView(new ArrayBuffer(256))
HOST_BRIDGE_REGISTERS.setUint32(0, 0x1237_8086, true)
HOST_BRIDGE_REGISTERS.setUint32(8, 0x0600_0002, true)

/** The bridge between processors and bus, by which kernels find out that there is a bus. It has nothing to set. */
export const HOST_BRIDGE: PciFunction = {
  readConfig(offset, size) {
    if (size === 4) return HOST_BRIDGE_REGISTERS.getUint32(offset, true)
    return size === 2 ? HOST_BRIDGE_REGISTERS.getUint16(offset, true) : HOST_BRIDGE_REGISTERS.getUint8(offset)
  },
  writeConfig() {
    // Read-only.
  },
}

export class PciBus implements BusDevice {
  readonly #slots = new Map<number, PciFunction>()
  #address = 0

  plug(slot: number, pciFunction: PciFunction): void {
    this.#slots.set(slot, pciFunction)
  }

  read(offset: number, size: number): bigint {
    if (offset < DATA) return BigInt(this.#address)
    const found = this.#selected()
    if (found === undefined) return (1n << BigInt(size * 8)) - 1n
    return BigInt(found.readConfig((this.#address & 0xfc) + offset - DATA, size) >>> 0)
  }

  write(offset: number, size: number, value: bigint): void {
    if (offset < DATA) {
      if (size === 4) this.#address = Number(value)
      return
    }
    this.#selected()?.writeConfig((this.#address & 0xfc) + offset - DATA, size, Number(value))
  }

  /** Function 0 of a slot of bus 0: the address's bits 8 to 23 name bus, slot and function. */
  #selected(): PciFunction | undefined {
    if ((this.#address & ENABLED) === 0) return undefined
    const where = (this.#address >>> 8) & 0xffff
    return (where & 7) === 0 ? this.#slots.get(where >> 3) : undefined
  }
}
