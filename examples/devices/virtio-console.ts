// virtio-console: one port of text between a guest and this process. What the guest writes is given to a function; what is sent
// waits until the guest has buffers for it.
import { VirtioDevice } from './virtio/device.js'

const TYPE = 3
const CLASS = 0x078000
const RECEIVE = 0
const TRANSMIT = 1
const FEATURE_SIZE = 1n << 0n
/** The most bytes that wait for a guest that reads nothing. */
const MOST_WAITING = 1 << 20

export interface ConsoleOptions {
  /** Called with what the guest writes. */
  onText: (bytes: Uint8Array) => void
  columns?: number
  rows?: number
  onError?: (error: Error) => void
}

export class VirtioConsole extends VirtioDevice {
  readonly #onText: (bytes: Uint8Array) => void
  readonly #waiting: Uint8Array[] = []
  #waitingBytes = 0

  constructor({ onText, columns = 80, rows = 25, onError }: ConsoleOptions) {
    const config = new Uint8Array(12)
    new DataView(config.buffer).setUint16(0, columns, true)
    new DataView(config.buffer).setUint16(2, rows, true)
    super({
      name: 'virtio-console',
      type: TYPE,
      classCode: CLASS,
      queues: [128, 128],
      features: FEATURE_SIZE,
      config,
      ...(onError && { onError }),
    })
    this.#onText = onText
  }

  /** Sends to the guest. @returns false where too much waits already; nothing of it is sent then */
  send(bytes: Uint8Array): boolean {
    if (this.#waitingBytes + bytes.length > MOST_WAITING) return false
    this.#waiting.push(Uint8Array.from(bytes))
    this.#waitingBytes += bytes.length
    // Without a guest it waits for one.
    if (this.device.connected) this.guarded(() => this.#deliver())
    return true
  }

  protected override notified(queue: number): void {
    if (queue === RECEIVE) this.#deliver()
    else this.#transmit()
  }

  protected override onReset(): void {
    // What waits is for whoever drives the port next: a driver begins with a reset.
  }

  #transmit(): void {
    for (let chain = this.take(TRANSMIT); chain !== undefined; chain = this.take(TRANSMIT)) {
      const bytes = chain.read()
      this.give(TRANSMIT, chain, 0)
      this.#onText(bytes)
    }
  }

  #deliver(): void {
    for (let bytes = this.#waiting[0]; bytes !== undefined; bytes = this.#waiting[0]) {
      const chain = this.take(RECEIVE)
      if (chain === undefined) return
      const written = chain.write(bytes)
      this.give(RECEIVE, chain, written)
      this.#waitingBytes -= written
      if (written === bytes.length) this.#waiting.shift()
      else this.#waiting[0] = bytes.subarray(written)
    }
  }
}
