// A split virtqueue (virtio 1.2, section 2.7), as the device sees it: takes chains of buffers that the driver made available, and
// gives them back. All of it lies in the guest's memory, so nothing that is read there is believed. It must not know what the
// buffers carry.

import type { DmaBufFile } from 'node-vfio'

/** The guest's memory, of which a virtqueue needs no more than this. `UserDevice.dma` is one. */
export interface GuestPages {
  /** Part of it as memory; throws where none of the guest's memory is. Detached once the guest takes the memory away. */
  window(iova: bigint, length: number): ArrayBuffer
  copyIn(iova: bigint, target: Uint8Array): void
  copyOut(iova: bigint, source: Uint8Array): void
  /** What was written through a window, for who migrates the guest. */
  markDirty(iova: bigint, length: number): void
  /** Parts of it, addresses and sizes in turn, as a dma-buf without a copy, where that can be had. */
  dmaBuf?(pieces: BigUint64Array): DmaBufFile
}

/** Part of the guest's memory. */
export interface Piece {
  readonly iova: bigint
  readonly length: number
}

/** What a driver did that no driver may do. The device then needs a reset. */
export class DriverError extends Error {}

const DESCRIPTOR_BYTES = 16
const USED_ELEMENT_BYTES = 8
const FLAG_NEXT = 1
const FLAG_WRITE = 2
const FLAG_INDIRECT = 4
const AVAIL_NO_INTERRUPT = 1

/** The most bytes that one chain may have: more than any driver sends, and little enough to hold. */
const MOST_CHAIN_BYTES = 64 << 20

/** Part of the guest's memory, looked up again when the guest has moved it. */
class Table {
  readonly #pages: GuestPages
  readonly #iova: bigint
  readonly #length: number
  #view: DataView | undefined

  constructor(pages: GuestPages, iova: bigint, length: number) {
    this.#pages = pages
    this.#iova = iova
    this.#length = length
  }

  get view(): DataView {
    if (this.#view === undefined || this.#view.buffer.byteLength === 0)
      this.#view = new DataView(this.#pages.window(this.#iova, this.#length))
    return this.#view
  }
}

/** A 16-bit index that the other side writes or reads while we run: its load or store is not reordered. */
function index16(view: DataView, offset: number): Uint16Array {
  return new Uint16Array(view.buffer, view.byteOffset + offset, 1)
}

/** Buffers of the driver, in the order in which it chained them: first what the device reads, then what it writes. */
export class Chain {
  readonly head: number
  readonly readable: readonly Piece[]
  readonly writable: readonly Piece[]
  readonly #pages: GuestPages

  constructor(pages: GuestPages, head: number, readable: readonly Piece[], writable: readonly Piece[]) {
    this.#pages = pages
    this.head = head
    this.readable = readable
    this.writable = writable
  }

  get readableBytes(): number {
    return total(this.readable)
  }

  get writableBytes(): number {
    return total(this.writable)
  }

  /** The bytes that the device reads, `most` of them at most. */
  read(most = this.readableBytes): Uint8Array {
    const bytes = new Uint8Array(Math.min(most, this.readableBytes))
    gather(this.#pages, this.readable, 0, bytes)
    return bytes
  }

  /** Fills what the device writes, from its start. Gives how many bytes there was room for. */
  write(bytes: Uint8Array): number {
    return this.writeAt(0, bytes)
  }

  /** The same from so many bytes on. */
  writeAt(offset: number, bytes: Uint8Array): number {
    let skip = offset
    let done = 0
    for (const { iova, length } of this.writable) {
      if (done === bytes.length) break
      if (skip >= length) {
        skip -= length
        continue
      }
      const part = bytes.subarray(done, done + length - skip)
      this.#pages.copyOut(iova + BigInt(skip), part)
      done += part.length
      skip = 0
    }
    return done
  }
}

function total(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0)
}

/** Fills `target` from what lies `offset` bytes into the pieces, which together hold enough. */
export function gather(
  pages: GuestPages,
  pieces: readonly Piece[],
  offset: number,
  target: Uint8Array,
): void {
  let skip = offset
  let done = 0
  for (const { iova, length } of pieces) {
    if (done === target.length) return
    if (skip >= length) {
      skip -= length
      continue
    }
    const part = target.subarray(done, done + length - skip)
    pages.copyIn(iova + BigInt(skip), part)
    done += part.length
    skip = 0
  }
}

/** Where a driver put a queue. */
export interface QueuePlace {
  readonly size: number
  readonly descriptors: bigint
  readonly available: bigint
  readonly used: bigint
}

export class Queue {
  readonly #pages: GuestPages
  readonly #size: number
  readonly #descriptors: Table
  readonly #available: Table
  readonly #used: Table
  readonly #usedAt: bigint
  #taken = 0
  #given = 0

  constructor(pages: GuestPages, { size, descriptors, available, used }: QueuePlace) {
    this.#pages = pages
    this.#size = size
    this.#descriptors = new Table(pages, descriptors, size * DESCRIPTOR_BYTES)
    this.#available = new Table(pages, available, 4 + 2 * size)
    this.#used = new Table(pages, used, 4 + USED_ELEMENT_BYTES * size)
    this.#usedAt = used
  }

  /** The next chain, or undefined when all are taken. @throws DriverError for what no driver may do */
  take(): Chain | undefined {
    const available = this.#available.view
    const ahead = (Atomics.load(index16(available, 2), 0) - this.#taken) & 0xffff
    if (ahead === 0) return undefined
    if (ahead > this.#size) throw new DriverError(`${ahead} chains in a queue of ${this.#size}`)
    const head = available.getUint16(4 + 2 * (this.#taken % this.#size), true)
    this.#taken = (this.#taken + 1) & 0xffff
    return this.#chain(head)
  }

  /** Gives a chain back, with how many bytes were written to it. */
  give(chain: Chain, written: number): void {
    const used = this.#used.view
    const slot = 4 + USED_ELEMENT_BYTES * (this.#given % this.#size)
    used.setUint32(slot, chain.head, true)
    used.setUint32(slot + 4, written, true)
    this.#given = (this.#given + 1) & 0xffff
    // After the element, and before the driver's wish for interrupts is read.
    Atomics.store(index16(used, 2), 0, this.#given)
    this.#pages.markDirty(this.#usedAt, used.byteLength)
  }

  /** Whether the driver wants to be told of chains that were given back. */
  get wantsInterrupt(): boolean {
    return (Atomics.load(index16(this.#available.view, 0), 0) & AVAIL_NO_INTERRUPT) === 0
  }

  #chain(head: number): Chain {
    const readable: Piece[] = []
    const writable: Piece[] = []
    let table = this.#descriptors.view
    let count = this.#size
    let index = head
    let bytes = 0
    let indirect = false
    for (let steps = 0; ; steps++) {
      if (index >= count || steps >= count) throw new DriverError('a chain leaves its table, or has no end')
      const at = index * DESCRIPTOR_BYTES
      const piece = { iova: table.getBigUint64(at, true), length: table.getUint32(at + 8, true) }
      const flags = table.getUint16(at + 12, true)
      if ((flags & FLAG_INDIRECT) !== 0) {
        if (indirect || (flags & FLAG_NEXT) !== 0 || piece.length % DESCRIPTOR_BYTES !== 0)
          throw new DriverError('a table of descriptors where none may be')
        indirect = true
        count = piece.length / DESCRIPTOR_BYTES
        if (count === 0 || count > 0xffff) throw new DriverError(`a table of ${count} descriptors`)
        // Copied: the driver must not be able to change what was checked.
        const copy = new Uint8Array(piece.length)
        this.#pages.copyIn(piece.iova, copy)
        table = new DataView(copy.buffer)
        index = 0
        steps = -1
        continue
      }
      bytes += piece.length
      if (bytes > MOST_CHAIN_BYTES) throw new DriverError(`a chain of more than ${MOST_CHAIN_BYTES} bytes`)
      if ((flags & FLAG_WRITE) !== 0) writable.push(piece)
      else if (writable.length > 0) throw new DriverError('a buffer to read after one to write')
      else readable.push(piece)
      if ((flags & FLAG_NEXT) === 0) return new Chain(this.#pages, head, readable, writable)
      index = table.getUint16(at + 14, true)
    }
  }
}
