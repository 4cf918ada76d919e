// Bytes on their way from processors' Workers to the main thread, what a guest prints for example: a shared ring, and an eventfd for the
// first byte that waits. Knows nothing of what they mean.
import { EventFd } from '../../event/eventfd.js'
import type { ShareToken } from '../../handle.js'
import { integer, object } from '../../validate.js'
import { ByteRing, SharedWords } from '../devices/shared.js'

/** What a Worker needs to send. */
export interface OutputToken {
  readonly lock: SharedArrayBuffer
  readonly ring: SharedArrayBuffer
  readonly bell: ShareToken<'EventFd'>
}

const RING_BYTES = 1 << 16
/** How long a guest waits while nobody takes its bytes, before they are dropped. */
const TRIES = 20
const TRY_MS = 50

/** The main thread's end. */
export class OutputReceiver {
  readonly #lock = SharedWords.memory(0)
  readonly #memory = ByteRing.memory(RING_BYTES)
  readonly #ring = new ByteRing(this.#memory)
  /** Signalled when there are bytes: let a poller watch it, and call `take()`. */
  readonly bell = new EventFd()

  token(): OutputToken {
    return { lock: this.#lock, ring: this.#memory, bell: this.bell.share() }
  }

  /** What has come. A guest that sends faster than this takes has the bell rung again. */
  take(): Uint8Array {
    const parts: Uint8Array[] = []
    // Until there is nothing: who puts a byte to others rings no bell for it.
    for (let taken = 0; this.#ring.length > 0; taken += parts.at(-1)?.length ?? 0) {
      if (taken >= RING_BYTES) {
        this.bell.signal()
        break
      }
      parts.push(this.#ring.takeAll())
    }
    return Buffer.concat(parts)
  }

  close(): void {
    this.bell.close()
  }
}

/** A Worker's end. */
export class OutputSender {
  readonly #lock: SharedWords
  readonly #ring: ByteRing
  readonly #bell: EventFd
  #stalled = false

  constructor(token: OutputToken) {
    const { lock, ring, bell } = object(token, 'token')
    this.#lock = new SharedWords(lock)
    this.#ring = new ByteRing(ring)
    this.#bell = EventFd.claim(bell)
  }

  /** Sends a byte, 0 to 255. Waits for room a while; drops it when there is none, and then all others until there is. */
  send(byte: number): void {
    integer(byte, 'byte', 0, 0xff)
    for (let tries = 0; ; tries++) {
      // Looked at behind the byte: one that came before it may be on its way out at this moment.
      const sent = this.#lock.locked(() => this.#ring.put(byte) && { first: this.#ring.length === 1 })
      if (sent !== false) {
        this.#stalled = false
        if (sent.first) this.#bell.signal()
        return
      }
      if (this.#stalled || tries === TRIES) {
        this.#stalled = true
        return
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TRY_MS)
    }
  }

  close(): void {
    this.#bell.close()
  }
}
