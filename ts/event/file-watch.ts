// FileWatch: one file that the event loop watches itself, for who reads it. Knows neither what is read nor what it means.
import type { NativeHandle } from '../native/index.js'
import { addon } from '../native/index.js'

const WRITABLE = 2

/** Says that a file can be read, or written to, until it is closed. @internal */
export class FileWatch {
  readonly #native: NativeHandle
  #closed = false
  #writable = false

  /**
   * Keeps the process alive, and the function, until `close()` or `setReferenced(false)`.
   * @param onReadable called for as long as there is something to read. `last`: there is an error to be read, after which nothing
   * is told any more.
   * @param onWritable called for as long as there is room, while `setWritable(true)` holds
   */
  constructor(file: NativeHandle, onReadable: (last: boolean) => void, onWritable?: () => void) {
    this.#native = addon().fileWatchOpen(file, (events) => {
      if ((events & WRITABLE) !== 0) onWritable?.()
      if (events !== WRITABLE && !this.#closed) onReadable(events === 0)
    })
    addon().fileWatchReference(this.#native, true)
  }

  setWritable(writable: boolean): void {
    if (this.#closed || this.#writable === writable) return
    this.#writable = writable
    addon().fileWatchWritable(this.#native, writable)
  }

  /** Whether it keeps the process alive. */
  setReferenced(referenced: boolean): void {
    if (!this.#closed) addon().fileWatchReference(this.#native, referenced)
  }

  /** Ends the watch. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    addon().fileWatchClose(this.#native)
  }
}
