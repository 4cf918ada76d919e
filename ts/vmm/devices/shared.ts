// What a device keeps in memory that several threads see: words under a lock, and a ring of bytes. The processors' Workers and the main
// thread each have a device object over the same words. Knows no device.

import { instance, integer } from '../../validate.js'

/**
 * How long a lock is waited for: who held it longer was ended while it did, and its words are whole all the same. Long enough for a
 * thread that a busy machine does not let run.
 */
const PATIENCE_MS = 2000

/** Memory that comes from elsewhere: what is shared, and of the size that `memory()` makes. */
function shared(buffer: SharedArrayBuffer, least: number): SharedArrayBuffer {
  integer(instance(buffer, SharedArrayBuffer, 'state').byteLength, 'state.byteLength', least, 1 << 20)
  if (buffer.byteLength % 4 !== 0) throw new RangeError('state.byteLength must be a multiple of 4')
  return buffer
}

/** Words of 32 bits, the first of which is the lock of the others. */
export class SharedWords {
  readonly words: Int32Array<SharedArrayBuffer>

  /** @param count how many words there are at least, beside the lock */
  constructor(buffer: SharedArrayBuffer, count = 0) {
    this.words = new Int32Array(shared(buffer, 4 * (count + 1)))
  }

  /** Memory for so many words beside the lock. */
  static memory(count: number): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * (count + 1))
  }

  get(index: number): number {
    return this.words[index + 1] ?? 0
  }

  set(index: number, value: number): void {
    this.words[index + 1] = value
  }

  /** Runs `work` while nobody else has the lock. */
  locked<T>(work: () => T): T {
    while (Atomics.compareExchange(this.words, 0, 0, 1) !== 0)
      if (Atomics.wait(this.words, 0, 1, PATIENCE_MS) === 'timed-out') break
    try {
      return work()
    } finally {
      Atomics.store(this.words, 0, 0)
      Atomics.notify(this.words, 0, 1)
    }
  }
}

const HEAD = 0
const TAIL = 1
const HEADER_BYTES = 8

/** Bytes in the order in which they were put in. One side puts, one side takes; each holds the device's lock or is alone. */
export class ByteRing {
  readonly #ends: Int32Array<SharedArrayBuffer>
  readonly #bytes: Uint8Array<SharedArrayBuffer>

  constructor(buffer: SharedArrayBuffer) {
    shared(buffer, HEADER_BYTES + 4)
    if (!Number.isInteger(Math.log2(buffer.byteLength - HEADER_BYTES)))
      throw new RangeError('state.byteLength must be that of a ring')
    this.#ends = new Int32Array(buffer, 0, 2)
    this.#bytes = new Uint8Array(buffer, HEADER_BYTES)
  }

  /** Memory for so many bytes, a power of two. */
  static memory(size: number): SharedArrayBuffer {
    return new SharedArrayBuffer(HEADER_BYTES + size)
  }

  get length(): number {
    return (Atomics.load(this.#ends, HEAD) - Atomics.load(this.#ends, TAIL)) >>> 0
  }

  /** How many bytes fit. */
  get room(): number {
    return this.#bytes.length - this.length
  }

  /** @returns false when there is no room */
  put(byte: number): boolean {
    if (this.room <= 0) return false
    const head = Atomics.load(this.#ends, HEAD)
    this.#bytes[head & (this.#bytes.length - 1)] = byte
    Atomics.store(this.#ends, HEAD, (head + 1) | 0)
    return true
  }

  /** The oldest byte; undefined when there is none. */
  take(): number | undefined {
    if (this.length === 0) return undefined
    const tail = Atomics.load(this.#ends, TAIL)
    const byte = this.#bytes[tail & (this.#bytes.length - 1)]
    Atomics.store(this.#ends, TAIL, (tail + 1) | 0)
    return byte
  }

  /** All that is there. */
  takeAll(): Uint8Array {
    const bytes = new Uint8Array(this.length)
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.take() ?? 0
    return bytes
  }

  clear(): void {
    Atomics.store(this.#ends, TAIL, Atomics.load(this.#ends, HEAD))
  }
}
