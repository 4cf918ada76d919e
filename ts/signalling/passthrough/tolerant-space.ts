// TolerantSpace: a device's configuration space as a bus shows it. Where the device does not take an access, a read gives all
// ones and a write is dropped: the guest that made it must not be answered by an exception of its host.
import type { ConfigSpace } from '../../pci/config-space.js'
import { isRefusal } from './shortfalls.js'

export class TolerantSpace implements ConfigSpace {
  readonly #space: ConfigSpace
  readonly #onFailure: () => void

  /** @param onFailure called for each access that the device did not take */
  constructor(space: ConfigSpace, onFailure: () => void) {
    this.#space = space
    this.#onFailure = onFailure
  }

  get size(): number {
    return this.#space.size
  }

  read8(offset: number): number {
    return this.#read(0xff, () => this.#space.read8(offset))
  }

  read16(offset: number): number {
    return this.#read(0xffff, () => this.#space.read16(offset))
  }

  read32(offset: number): number {
    return this.#read(0xffff_ffff, () => this.#space.read32(offset))
  }

  write8(offset: number, value: number): void {
    this.#write(() => {
      this.#space.write8(offset, value)
    })
  }

  write16(offset: number, value: number): void {
    this.#write(() => {
      this.#space.write16(offset, value)
    })
  }

  write32(offset: number, value: number): void {
    this.#write(() => {
      this.#space.write32(offset, value)
    })
  }

  #read(otherwise: number, access: () => number): number {
    try {
      return access()
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#onFailure()
      return otherwise
    }
  }

  #write(access: () => void): void {
    try {
      access()
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#onFailure()
    }
  }
}
