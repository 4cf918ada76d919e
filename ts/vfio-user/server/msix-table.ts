// The MSI-X table and its pending bits, as a client that does not emulate them itself reads and writes them. Who is signalled is
// no matter of theirs: a client gives and takes eventfds for that.
import { BackedRegion, type RegionPart } from './region.js'
import type { MsixOptions } from './options.js'
import { MSIX_ENTRY_BYTES } from './placement.js'

const VECTOR_CONTROL = 12
const MASKED = 1

export class MsixTable {
  readonly #table: Uint8Array
  readonly #pending: Uint8Array
  readonly #options: MsixOptions

  constructor(options: MsixOptions) {
    this.#options = options
    this.#table = new Uint8Array(options.vectors * MSIX_ENTRY_BYTES)
    this.#pending = new Uint8Array(Math.ceil(options.vectors / 64) * 8)
    this.reset()
  }

  /** The parts of the region that they are. */
  get parts(): readonly RegionPart[] {
    const { table, pba } = this.#options
    return [
      { offset: table, end: table + this.#table.length, region: new BackedRegion(this.#table) },
      { offset: pba, end: pba + this.#pending.length, region: new BackedRegion(this.#pending, true) },
    ]
  }

  isPending(vector: number): boolean {
    return (((this.#pending[vector >> 3] ?? 0) >> (vector & 7)) & 1) === 1
  }

  setPending(vector: number, pending: boolean): void {
    const bit = 1 << (vector & 7)
    const byte = this.#pending[vector >> 3] ?? 0
    this.#pending[vector >> 3] = pending ? byte | bit : byte & ~bit
  }

  /** Every vector masked and none pending, as the specification wants it. */
  reset(): void {
    this.#table.fill(0)
    this.#pending.fill(0)
    for (let at = VECTOR_CONTROL; at < this.#table.length; at += MSIX_ENTRY_BYTES) this.#table[at] = MASKED
  }

  save(): Uint8Array {
    const bytes = new Uint8Array(this.#table.length + this.#pending.length)
    bytes.set(this.#table)
    bytes.set(this.#pending, this.#table.length)
    return bytes
  }

  /** @returns false for what no table of this size can be */
  load(bytes: Uint8Array): boolean {
    if (bytes.length !== this.#table.length + this.#pending.length) return false
    this.#table.set(bytes.subarray(0, this.#table.length))
    this.#pending.set(bytes.subarray(this.#table.length))
    return true
  }
}
