// A configuration space that was read before: bytes in memory. It must not know where they came from.

import type { ConfigSpace } from './config-space.js'

/** Bytes as a configuration space; what is written changes the bytes and no device. */
export class ConfigBytes implements ConfigSpace {
  readonly size: number
  readonly #view: DataView

  /** @param bytes as many whole 4-byte words as there are count */
  constructor(bytes: Uint8Array) {
    this.size = bytes.length & ~3
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  read8(offset: number): number {
    return this.#view.getUint8(offset)
  }

  read16(offset: number): number {
    return this.#view.getUint16(offset, true)
  }

  read32(offset: number): number {
    return this.#view.getUint32(offset, true)
  }

  write8(offset: number, value: number): void {
    this.#view.setUint8(offset, value)
  }

  write16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, true)
  }

  write32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true)
  }
}
