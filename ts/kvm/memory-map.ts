// MemoryMap: the slots of a machine that were added through one object, and who is told when they come and go. Listeners may
// add and close slots themselves, and may throw: the map stays what the guest has. Knows no system call.
import type { MemorySlot } from './memory-slot.js'

/** What the listeners of `onMemoryChange` are told: after a slot was added, before one is removed. */
export interface MemoryChange {
  kind: 'added' | 'removing'
  slot: MemorySlot
}

type Listener = (change: MemoryChange) => void

export class MemoryMap {
  readonly #slots = new Set<MemorySlot>()
  readonly #listeners = new Set<Listener>()
  readonly #room = new Set<() => void>()
  /** Who has not heard yet of a slot that is being added. */
  readonly #untold = new Map<MemorySlot, Set<Listener>>()

  /** By guest address. */
  get slots(): readonly MemorySlot[] {
    return [...this.#slots].sort((a, b) => (a.guestAddress < b.guestAddress ? -1 : 1))
  }

  listen(listener: Listener): { close(): void } {
    // The same function may listen twice.
    const own = listener.bind(undefined)
    this.#listeners.add(own)
    return {
      close: () => {
        this.#listeners.delete(own)
      },
    }
  }

  /** Calls `listener` after a slot has gone; returns how to end that. */
  onRoom(listener: () => void): () => void {
    const own = listener.bind(undefined)
    this.#room.add(own)
    return () => {
      this.#room.delete(own)
    }
  }

  /** Takes a slot in that the guest has. When a listener throws, the slot goes again. */
  add(slot: MemorySlot): void {
    this.#slots.add(slot)
    const untold = new Set(this.#listeners)
    this.#untold.set(slot, untold)
    try {
      for (const listener of untold) {
        // One of those before has closed it.
        if (!this.#slots.has(slot)) return
        untold.delete(listener)
        if (this.#listeners.has(listener)) listener({ kind: 'added', slot })
      }
    } catch (error) {
      // Whoever could not follow (an IOMMU that is full) must not be left behind.
      this.#closeAfter(slot)
      throw error
    } finally {
      this.#untold.delete(slot)
    }
  }

  /** Lets a slot go. Whatever listeners throw, it goes; the first error comes out at the end. */
  remove(slot: MemorySlot, remove: () => void): void {
    const errors: unknown[] = []
    const untold = this.#untold.get(slot)
    for (const listener of [...this.#listeners]) {
      if (untold?.has(listener) === true || !this.#listeners.has(listener)) continue
      tolerate(errors, () => {
        listener({ kind: 'removing', slot })
      })
    }
    try {
      remove()
    } catch (error) {
      // The guest keeps it: whoever let go of it follows again.
      for (const listener of [...this.#listeners]) {
        tolerate(errors, () => {
          listener({ kind: 'added', slot })
        })
      }
      throw error
    }
    this.#slots.delete(slot)
    for (const listener of [...this.#room]) if (this.#room.has(listener)) tolerate(errors, listener)
    if (errors.length > 0) throw errors[0]
  }

  /** The error that made it necessary is worth more than one of this. */
  #closeAfter(slot: MemorySlot): void {
    try {
      slot.close()
    } catch {
      // See above.
    }
  }
}

function tolerate(errors: unknown[], step: () => void): void {
  try {
    step()
  } catch (error) {
    errors.push(error)
  }
}
