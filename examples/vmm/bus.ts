// The buses of the machine: which device answers at a port or at an address outside of the guest's memory.
import type { Access, Space } from './exit-channel.js'

/**
 * A device as the bus sees it. Offsets count from where it was attached, `value` has `size` bytes, and `cpu` is the
 * processor that asks.
 */
export interface BusDevice {
  read(offset: number, size: number, cpu: number): bigint
  write(offset: number, size: number, value: bigint, cpu: number): void
}

interface Attached {
  space: Space
  start: bigint
  length: number
  device: BusDevice
}

export class Bus {
  readonly #attached: Attached[] = []

  attach(space: Space, start: bigint, length: number, device: BusDevice): void {
    this.#attached.push({ space, start, length, device })
  }

  /** Carries out an access; where nobody answers, reads give all ones and writes go nowhere, as on a real bus. */
  access({ space, address, size, value }: Access, cpu: number): bigint {
    const found = this.#attached.find(
      (each) => each.space === space && address >= each.start && address < each.start + BigInt(each.length),
    )
    if (found === undefined) return (1n << BigInt(size * 8)) - 1n
    const offset = Number(address - found.start)
    if (value === undefined) return found.device.read(offset, size, cpu)
    found.device.write(offset, size, value, cpu)
    return 0n
  }
}
