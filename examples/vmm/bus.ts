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

/** Answers an access if it is its own; undefined otherwise. For devices that the guest can move about. */
export type Movable = (access: Access) => bigint | undefined

export class Bus {
  readonly #attached: Attached[] = []
  readonly #movable: Movable[] = []

  attach(space: Space, start: bigint, length: number, device: BusDevice): void {
    this.#attached.push({ space, start, length, device })
  }

  attachMovable(movable: Movable): void {
    this.#movable.push(movable)
  }

  /** Carries out an access; where nobody answers, reads give all ones and writes go nowhere, as on a real bus. */
  access(access: Access, cpu: number): bigint {
    const { space, address, size, value } = access
    const found = this.#attached.find(
      (each) => each.space === space && address >= each.start && address < each.start + BigInt(each.length),
    )
    if (found === undefined) return this.#accessMovable(access) ?? (1n << BigInt(size * 8)) - 1n
    const offset = Number(address - found.start)
    if (value === undefined) return found.device.read(offset, size, cpu)
    found.device.write(offset, size, value, cpu)
    return 0n
  }

  #accessMovable(access: Access): bigint | undefined {
    for (const movable of this.#movable) {
      const answer = movable(access)
      if (answer !== undefined) return answer
    }
    return undefined
  }
}
