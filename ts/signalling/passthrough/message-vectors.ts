// MessageVectors: the vectors of a device's MSI or MSI-X, each with an eventfd and a wire into the guest. Decides when the
// device's set of vectors grows, and loses no interrupt over it.
import type { InterruptIndex } from '../../device/interrupts.js'
import { VfioError } from '../../errors.js'
import { EventFd } from '../../event/eventfd.js'
import type { MsiMessage, Vm } from '../../kvm/index.js'
import { isSignalled, type MsiWire, wireMsi } from '../wire-msi.js'

interface Vector {
  eventfd: EventFd
  /** From when the guest lets the vector through first. */
  wire: MsiWire | undefined
}

/** A message by vector; null for one that is held back. */
export type Messages = (vector: number) => MsiMessage | null

/** The vectors of one interrupt index while the guest has it on. */
export class MessageVectors {
  readonly #vm: Vm
  readonly #irq: InterruptIndex
  readonly #vectors = new Map<number, Vector>()
  /** Vectors that the device has got so far. */
  #capacity = 0

  /** @param wanted vectors that the guest can come to use */
  constructor(vm: Vm, irq: InterruptIndex, wanted: number, messages: Messages) {
    this.#vm = vm
    this.#irq = irq
    const count = Math.min(wanted, irq.count)
    try {
      if (irq.name === 'msi') this.#enableAll(count, messages)
      else this.#enable(count)
      for (let vector = 0; vector < count; vector++) this.apply(vector, messages(vector))
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Lets a vector through as a message, what arrived before included; or (null) holds it back. */
  apply(vector: number, message: MsiMessage | null): void {
    if (vector >= this.#irq.count) return
    const held = this.#vectors.get(vector)
    if (message === null) held?.wire?.mask()
    else if (held === undefined) this.#open(vector, message)
    else this.#connect(held, message)
  }

  /** Whether a vector that is held back has an interrupt waiting; null when only the device knows. */
  pending(vector: number): boolean | null {
    const held = this.#vectors.get(vector)
    if (held === undefined) return null
    return held.wire === undefined ? isSignalled(held.eventfd) : held.wire.pending
  }

  /** Turns them off: first the device's, then what they were wired to. */
  close(): void {
    this.#irq.disable()
    for (const { eventfd } of this.#vectors.values()) eventfd.close()
    this.#vectors.clear()
  }

  #connect(vector: Vector, message: MsiMessage): void {
    if (vector.wire === undefined) {
      vector.wire = wireMsi(this.#vm, vector.eventfd, message)
    } else {
      vector.wire.update(message)
      vector.wire.unmask()
    }
  }

  #open(vector: number, message: MsiMessage): void {
    const opened: Vector = { eventfd: new EventFd(), wire: undefined }
    this.#vectors.set(vector, opened)
    try {
      // The wire first: an interrupt that the device kept back comes with the eventfd.
      this.#connect(opened, message)
      this.#attach(vector, opened.eventfd)
    } catch (error) {
      this.#vectors.delete(vector)
      opened.eventfd.close()
      throw error
    }
  }

  /** MSI: what the device sends to a vector without an eventfd is lost, so that each has one from the start. */
  #enableAll(count: number, messages: Messages): void {
    for (let vector = 0; vector < count; vector++) {
      const opened: Vector = { eventfd: new EventFd(), wire: undefined }
      this.#vectors.set(vector, opened)
      const message = messages(vector)
      if (message !== null) this.#connect(opened, message)
    }
    this.#grow(count)
  }

  /**
   * MSI-X: turns it on without eventfds. The device then keeps interrupts in its own pending bits, and sends them when their
   * vector gets one.
   */
  #enable(wanted: number): void {
    // Where the set can grow, a vector costs nothing before it is used.
    const first = this.#irq.info.flags.noresize ? wanted : 1
    try {
      this.#grow(first)
    } catch (error) {
      // The host is short of vectors: take them as they are used.
      if (!(error instanceof VfioError) || first === 1) throw error
      this.#grow(1)
    }
  }

  #grow(capacity: number): void {
    this.#irq.enable(Array.from({ length: capacity }, (_, i) => this.#vectors.get(i)?.eventfd ?? null))
    this.#capacity = capacity
  }

  #attach(vector: number, eventfd: EventFd): void {
    if (vector < this.#capacity || !this.#irq.info.flags.noresize) {
      this.#irq.set(vector, eventfd)
      return
    }
    const before = this.#capacity
    this.#irq.disable()
    try {
      this.#grow(vector + 1)
    } catch (error) {
      this.#grow(before)
      throw error
    } finally {
      // What the others sent in between is lost: one interrupt too many for each makes its handler look.
      for (const [other, each] of this.#vectors) if (other !== vector) each.eventfd.signal()
    }
  }
}
