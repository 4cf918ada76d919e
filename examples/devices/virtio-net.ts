// virtio-net: a network card whose frames go to a function of this process, and come from one. Knows frames as bytes; the wire is
// whoever made it.
import { VirtioDevice } from './virtio/device.js'
import { DriverError } from './virtio/queue.js'

const TYPE = 1
const CLASS = 0x020000
const RECEIVE = 0
const TRANSMIT = 1
const FEATURE = { mac: 1n << 5n, status: 1n << 16n } as const
const MAC_BYTES = 6
const LINK_UP = 1

/** struct virtio_net_hdr_v1. Nothing is offloaded, so that it says nothing but that a frame lies in one chain. */
const HEADER_BYTES = 12
const BUFFERS_AT = 10
/** The longest frame without offloads, with a VLAN tag; jumbo frames are for who asks for them. */
const MOST_FRAME = 9018
/** Frames that wait for a guest which has no buffers. Those beyond are dropped, as on any wire. */
const MOST_WAITING = 256

export interface NetOptions {
  /** Gets each frame that the guest sends, without its checksum. */
  transmit: (frame: Uint8Array) => void
  /** Six bytes. */
  mac: Uint8Array
  onError?: (error: Error) => void
}

export class VirtioNet extends VirtioDevice {
  readonly #transmit: (frame: Uint8Array) => void
  readonly #waiting: Uint8Array[] = []
  /** Frames that had no room, or were too long. */
  dropped = 0

  constructor({ transmit, mac, onError }: NetOptions) {
    if (mac.length !== MAC_BYTES) throw new RangeError(`mac must have ${MAC_BYTES} bytes, not ${mac.length}`)
    super({
      name: 'virtio-net',
      type: TYPE,
      classCode: CLASS,
      queues: [256, 256],
      features: FEATURE.mac | FEATURE.status,
      config: Uint8Array.of(...mac, LINK_UP, 0),
      ...(onError && { onError }),
    })
    this.#transmit = transmit
  }

  /** Sends a frame to the guest. @returns false where it was dropped */
  receive(frame: Uint8Array): boolean {
    if (!this.live || frame.length > MOST_FRAME || this.#waiting.length >= MOST_WAITING) {
      this.dropped++
      return false
    }
    this.#waiting.push(Uint8Array.from(frame))
    this.guarded(() => this.#deliver())
    return true
  }

  protected override notified(queue: number): void {
    if (queue === RECEIVE) this.#deliver()
    else this.#send()
  }

  protected override onReset(): void {
    this.#waiting.length = 0
  }

  #send(): void {
    for (let chain = this.take(TRANSMIT); chain !== undefined; chain = this.take(TRANSMIT)) {
      const { readableBytes } = chain
      if (readableBytes < HEADER_BYTES) throw new DriverError('a frame without its header')
      const frame =
        readableBytes > HEADER_BYTES + MOST_FRAME ? undefined : chain.read().subarray(HEADER_BYTES)
      this.give(TRANSMIT, chain, 0)
      if (frame === undefined) this.dropped++
      else this.#transmit(frame)
    }
  }

  #deliver(): void {
    for (let frame = this.#waiting[0]; frame !== undefined; frame = this.#waiting[0]) {
      const chain = this.take(RECEIVE)
      if (chain === undefined) return
      this.#waiting.shift()
      const bytes = new Uint8Array(HEADER_BYTES + frame.length)
      bytes[BUFFERS_AT] = 1
      bytes.set(frame, HEADER_BYTES)
      const fits = chain.writableBytes >= bytes.length
      if (!fits) this.dropped++
      this.give(RECEIVE, chain, fits ? chain.write(bytes) : 0)
    }
  }
}
