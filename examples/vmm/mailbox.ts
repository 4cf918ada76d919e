// A processor's mailbox, through which the project's own guests and the VMM count and command: words in the guest's memory.
import { MAIL, mailboxAddress } from './guest/runtime.js'

type Field = keyof typeof MAIL

export class Mailbox {
  readonly #words: Uint32Array<ArrayBuffer>

  /** @param memory the guest's, from address 0 on */
  constructor(memory: Uint8Array<ArrayBuffer>, cpu: number) {
    this.#words = new Uint32Array(
      memory.buffer,
      memory.byteOffset + mailboxAddress(cpu),
      Object.keys(MAIL).length,
    )
  }

  // Atomics, because the guest's processor writes while this one reads.
  get(field: Field): number {
    return Atomics.load(this.#words, MAIL[field])
  }

  set(field: Field, value: number): void {
    Atomics.store(this.#words, MAIL[field], value)
  }
}
