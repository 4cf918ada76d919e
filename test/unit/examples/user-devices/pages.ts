// A guest's memory for virtqueues, and the driver's half of a queue in it.
import { type GuestPages } from '../../../../examples/devices/virtio/queue.js'
import { GuestMemory } from '../../../../ts/index.js'

/** Memory from address 0 on; what leaves it is refused. */
export class FakePages implements GuestPages {
  readonly #memory: GuestMemory
  readonly #windows: ArrayBuffer[] = []

  constructor(bytes: number) {
    this.#memory = GuestMemory.create(bytes)
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer)
  }

  get view(): DataView {
    return new DataView(this.#memory.buffer)
  }

  /** Detaches what was given out, as happens when a guest moves its memory. */
  move(): void {
    for (const window of this.#windows.splice(0)) structuredClone(window, { transfer: [window] })
  }

  window(iova: bigint, length: number): ArrayBuffer {
    const window = this.#memory.window(Number(iova), length)
    this.#windows.push(window)
    return window
  }

  copyIn(iova: bigint, target: Uint8Array): void {
    target.set(this.#part(iova, target.length))
  }

  copyOut(iova: bigint, source: Uint8Array): void {
    this.#part(iova, source.length).set(source)
  }

  #part(iova: bigint, length: number): Uint8Array {
    const from = Number(iova)
    if (from + length > this.#memory.size) throw new RangeError('no memory there')
    return this.bytes.subarray(from, from + length)
  }

  markDirty(): void {
    // Nobody migrates these.
  }

  close(): void {
    this.#memory.close()
  }
}

export const NEXT = 1
export const WRITE = 2
export const INDIRECT = 4

/** Where the driver of these tests has its queue. */
export const PLACE = { size: 8, descriptors: 0x1000n, available: 0x2000n, used: 0x3000n } as const

/** A buffer, as a descriptor says it. */
export interface Descriptor {
  iova: number
  length: number
  flags?: number
  next?: number
}

export class Driver {
  readonly #pages: FakePages
  #offered = 0

  constructor(pages: FakePages) {
    this.#pages = pages
  }

  describe(index: number, { iova, length, flags = 0, next = 0 }: Descriptor, table = 0x1000): void {
    const { view } = this.#pages
    const at = table + index * 16
    view.setBigUint64(at, BigInt(iova), true)
    view.setUint32(at + 8, length, true)
    view.setUint16(at + 12, flags, true)
    view.setUint16(at + 14, next, true)
  }

  /** Makes the chain available that begins there. */
  offer(head: number): void {
    this.#pages.view.setUint16(0x2000 + 4 + 2 * (this.#offered % PLACE.size), head, true)
    this.#offered = (this.#offered + 1) & 0xffff
    this.index = this.#offered
  }

  set index(value: number) {
    this.#pages.view.setUint16(0x2002, value, true)
  }

  set flags(value: number) {
    this.#pages.view.setUint16(0x2000, value, true)
  }

  /** What the device gave back: heads and lengths, in order. */
  get used(): [head: number, length: number][] {
    const { view } = this.#pages
    const count = view.getUint16(0x3002, true)
    return Array.from({ length: Math.min(count, PLACE.size) }, (_, i) => {
      const at = 0x3000 + 4 + 8 * i
      return [view.getUint32(at, true), view.getUint32(at + 4, true)]
    })
  }
}
