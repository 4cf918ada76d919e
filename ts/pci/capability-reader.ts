// Reads the registers of one capability by their offset in it, and stops at the end of the configuration
// space. It must not know any register.

import type { ConfigSpace } from './config-space.js'

/** Thrown by {@link CapabilityReader}, caught by the walk: never seen by users. */
export class CapabilityTruncated extends Error {
  /** Offset of the first byte that could not be read. */
  readonly offset: number

  constructor(offset: number) {
    super(`configuration space ends before 0x${offset.toString(16)}`)
    this.offset = offset
  }
}

/** The registers of one capability. */
export class CapabilityReader {
  readonly #config: ConfigSpace
  readonly #base: number
  readonly #limit: number

  /** `base` is the capability's offset, `limit` the end of the space that its list may use. */
  constructor(config: ConfigSpace, base: number, limit: number) {
    this.#config = config
    this.#base = base
    this.#limit = limit
  }

  read8(register: number): number {
    return this.#config.read8(this.#locate(register, 1))
  }

  read16(register: number): number {
    return this.#config.read16(this.#locate(register, 2))
  }

  read32(register: number): number {
    return this.#config.read32(this.#locate(register, 4))
  }

  #locate(register: number, width: number): number {
    const offset = this.#base + register
    if (offset + width > this.#limit) throw new CapabilityTruncated(this.#limit)
    return offset
  }
}
