// What a space says of itself, kept: asking and decoding take as long as mapping a megabyte. What changes it is counted by the
// native object, as far as it happens through this process; of another program a refused mapping tells.
import type { Geometry } from '../backend.js'

export class KeptGeometry<Of extends Geometry> {
  readonly #ask: () => Of
  readonly #counter: () => ArrayBuffer
  #count: Uint32Array | undefined
  #kept: Of | undefined
  #keptAt = 0

  constructor(ask: () => Of, counter: () => ArrayBuffer) {
    this.#ask = ask
    this.#counter = counter
  }

  /** How often it may have changed, through this process. */
  get changes(): number {
    const [changes = 0] = (this.#count ??= new Uint32Array(this.#counter()))
    return changes
  }

  get(): Of {
    const { changes } = this
    if (this.#kept === undefined || this.#keptAt !== changes) {
      this.#kept = this.#ask()
      this.#keptAt = changes
    }
    return this.#kept
  }

  /** The next who asks is told anew. */
  drop(): void {
    this.#kept = undefined
  }
}
