// Buffers: the DmaBuffers that a space made, for closing it to close them. Keeps none of them alive.
import type { DmaBuffer } from './dma-buffer.js'

export class Buffers {
  readonly #buffers = new Set<WeakRef<DmaBuffer>>()
  readonly #refs = new WeakMap<DmaBuffer, WeakRef<DmaBuffer>>()
  #pruneAt = 64

  add(buffer: DmaBuffer): void {
    const ref = new WeakRef(buffer)
    this.#refs.set(buffer, ref)
    this.#buffers.add(ref)
    if (this.#buffers.size <= this.#pruneAt) return
    for (const each of this.#buffers) if (each.deref() === undefined) this.#buffers.delete(each)
    this.#pruneAt = this.#buffers.size * 2
  }

  delete(buffer: DmaBuffer): void {
    const ref = this.#refs.get(buffer)
    if (ref !== undefined) this.#buffers.delete(ref)
  }

  /** Closes those that are left. */
  closeAll(): void {
    for (const ref of this.#buffers) ref.deref()?.[Symbol.dispose]()
    this.#buffers.clear()
  }
}
