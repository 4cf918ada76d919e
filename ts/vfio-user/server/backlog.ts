// Backlog: messages that came behind a read whose answer is not there yet, with their descriptors. Bounded, since a client may
// send on and on meanwhile.

const MOST_MESSAGES = 65_536
const MOST_BYTES = 16 << 20
/** Of the process, which has about a thousand by default. */
const MOST_DESCRIPTORS = 256

export interface Waiting {
  readonly view: DataView
  readonly fds: number[]
}

export class Backlog {
  readonly #closeFd: (fd: number) => void
  #messages: Waiting[] = []
  #next = 0
  #bytes = 0
  #descriptors = 0

  constructor(closeFd: (fd: number) => void) {
    this.#closeFd = closeFd
  }

  /**
   * Keeps a copy of a message.
   * @param takeFds gives its descriptors
   * @returns false when that would be too much: then nothing was taken
   */
  keep(data: DataView, at: number, length: number, descriptors: number, takeFds: () => number[]): boolean {
    const full =
      this.#messages.length - this.#next >= MOST_MESSAGES ||
      this.#bytes + length > MOST_BYTES ||
      this.#descriptors + descriptors > MOST_DESCRIPTORS
    if (full) return false
    const copy = new Uint8Array(data.buffer, data.byteOffset + at, length).slice()
    const fds = descriptors === 0 ? [] : takeFds()
    this.#messages.push({ view: new DataView(copy.buffer), fds })
    this.#bytes += length
    this.#descriptors += fds.length
    return true
  }

  /** The oldest of them, which is no longer kept. */
  take(): Waiting | undefined {
    const waiting = this.#messages[this.#next]
    if (waiting === undefined) {
      this.#messages = []
      this.#next = 0
      return undefined
    }
    this.#next++
    this.#bytes -= waiting.view.byteLength
    this.#descriptors -= waiting.fds.length
    return waiting
  }

  /** Forgets all of them. */
  clear(): void {
    for (const { fds } of this.#messages.slice(this.#next)) fds.forEach(this.#closeFd)
    this.#messages = []
    this.#next = 0
  }
}
