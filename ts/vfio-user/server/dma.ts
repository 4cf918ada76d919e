// DeviceDma: how a device reaches its client's memory. Owns the table of the ranges that the client has shown; bytes move in the
// windows, or by messages of the session, behind the two interfaces here.
import { EACCES, EEXIST, EINVAL, ENOSPC, VfioError } from '../../errors.js'
import { MAX_U64, bigint, bytes as bytesOf, integer } from '../../validate.js'
import { UNMAP_FLAG } from '../protocol/constants.js'
import { type DmaMap, type DmaUnmap, dmaAccess } from '../protocol/dma.js'
import type { DirtyLog } from './dirty-log.js'

/** Memory of a client that is mapped here, by the address that the device knows it by. */
export interface WindowTable {
  /** Takes the descriptor, also where it refuses. */
  add(iova: bigint, size: bigint, fd: number, offset: bigint, access: DmaAccess): void
  /** Detaches what `window()` gave out; returns when nothing can reach the memory any more. */
  remove(iova: bigint, size: bigint): void
  copyIn(iova: bigint, target: Uint8Array): void
  copyOut(iova: bigint, source: Uint8Array): void
  window(iova: bigint, length: number): ArrayBuffer
  close(): void
}

/** DMA by message, for memory that came without a descriptor. */
export interface MessageTransfer {
  read(iova: bigint, target: Uint8Array): Promise<void>
  write(iova: bigint, source: Uint8Array): Promise<void>
}

export interface DmaAccess {
  readonly read: boolean
  readonly write: boolean
}

/** A range of memory that the client has shown. */
export interface UserDmaRange extends DmaAccess {
  readonly iova: bigint
  readonly size: bigint
  /** Whether it is mapped here: else it is reached by messages, which `read()` and `write()` do. */
  readonly mapped: boolean
}

const READ = 'VFIO_USER_DMA_READ'
const WRITE = 'VFIO_USER_DMA_WRITE'
/** ENOTCONN and EFAULT, which constants.errno has under these numbers on Linux. */
const ENOTCONN = 107
const EFAULT = 14
const MOST_LENGTH = 2 ** 32

function hex(value: bigint): string {
  return `0x${value.toString(16)}`
}

/** What is behind the addresses, while a client is connected. @internal */
export interface DmaAttachment {
  readonly windows: WindowTable
  readonly messages: MessageTransfer
  readonly mostMaps: number
}

/** The memory of a device's client, by the addresses that its driver gives to the device. */
export class DeviceDma {
  readonly #name: string
  readonly #mastering: () => boolean
  readonly #log: DirtyLog
  #attached: DmaAttachment | null = null
  // By ascending address, without overlaps.
  #ranges: UserDmaRange[] = []

  /** @internal */
  constructor(name: string, mastering: () => boolean, log: DirtyLog) {
    this.#name = name
    this.#mastering = mastering
    this.#log = log
  }

  /** Whether there is a client whose memory this is. */
  get connected(): boolean {
    return this.#attached !== null
  }

  /** What the client has shown, by ascending address. */
  get ranges(): readonly UserDmaRange[] {
    return [...this.#ranges]
  }

  /** Whether the device can reach all of a range without a message. */
  mapped(iova: bigint, length: number): boolean {
    return this.#covered(iova, length, (range) => range.mapped)
  }

  /**
   * Copies from the client's memory, all of `target` or nothing. The range may lie in several windows, where they are next to
   * each other.
   * @throws VfioError EFAULT where nothing is mapped, EACCES where the client lets nothing be read or has bus mastering off,
   *   ENOTCONN without a client
   */
  copyIn(iova: bigint, target: ArrayBufferView): void {
    const bytes = bytesOf(target, 'target')
    this.#check(READ, iova, bytes.byteLength, true).windows.copyIn(iova, bytes)
  }

  /** Copies to the client's memory. @throws VfioError as `copyIn()` */
  copyOut(iova: bigint, source: ArrayBufferView): void {
    const bytes = bytesOf(source, 'source')
    this.#check(WRITE, iova, bytes.byteLength, true).windows.copyOut(iova, bytes)
    this.#log.mark(iova, bytes.byteLength)
  }

  /**
   * The client's memory itself, which must lie in one window. It is detached (its length is 0) as soon as the client takes the
   * memory away or goes: look at `byteLength` before each use. What is written to it is not in a log of dirty pages: see
   * `markDirty()`.
   * @throws VfioError as `copyIn()`, and EACCES where the client lets nothing be written
   */
  window(iova: bigint, length: number): ArrayBuffer {
    integer(length, 'length', 1, MOST_LENGTH)
    return this.#check(WRITE, iova, length, true).windows.window(iova, length)
  }

  /** Tells a log of dirty pages what was written through a `window()`. */
  markDirty(iova: bigint, length: number): void {
    bigint(iova, 'iova', 0n, MAX_U64)
    this.#log.mark(iova, integer(length, 'length', 0, MOST_LENGTH))
  }

  /**
   * Reads the client's memory wherever it is: in a window at once, else by message, after what is being answered.
   * @param target what is filled, or how many bytes are to be read
   * @throws VfioError as `copyIn()`; what the client says to a message; ETIMEDOUT when it says nothing for 5 seconds
   */
  async read(iova: bigint, target: ArrayBufferView | number): Promise<Uint8Array> {
    const bytes =
      typeof target === 'number'
        ? new Uint8Array(integer(target, 'target', 0, MOST_LENGTH - 1))
        : bytesOf(target, 'target')
    const { windows, messages } = this.#check(READ, iova, bytes.byteLength, false)
    if (this.mapped(iova, bytes.byteLength)) windows.copyIn(iova, bytes)
    else await messages.read(iova, bytes)
    return bytes
  }

  /** Writes the client's memory, in the same way. */
  async write(iova: bigint, source: ArrayBufferView): Promise<void> {
    const bytes = bytesOf(source, 'source')
    const { windows, messages } = this.#check(WRITE, iova, bytes.byteLength, false)
    if (this.mapped(iova, bytes.byteLength)) windows.copyOut(iova, bytes)
    else await messages.write(iova, bytes)
    this.#log.mark(iova, bytes.byteLength)
  }

  /** A client has come. @internal */
  attach(attachment: DmaAttachment): void {
    this.#attached = attachment
  }

  /** The client is gone, and its memory with it. @internal */
  detach(): void {
    const attached = this.#attached
    this.#attached = null
    this.#ranges = []
    attached?.windows.close()
  }

  /**
   * The client shows a range. Takes the descriptor, also where it refuses.
   * @throws VfioError EEXIST for one that overlaps another, ENOSPC for too many; what mapping refuses
   * @internal
   */
  map(map: DmaMap, fd: number | null, close: (fd: number) => void): void {
    const attached = this.#attached
    const { iova, size } = map
    let refusal: VfioError | null = null
    if (attached === null) refusal = this.#refusal(ENOTCONN, 'VFIO_USER_DMA_MAP', iova)
    else if (this.#ranges.length >= attached.mostMaps)
      refusal = this.#refusal(ENOSPC, 'VFIO_USER_DMA_MAP', iova)
    else if (this.#ranges.some((each) => overlaps(each, iova, size)))
      refusal = this.#refusal(EEXIST, 'VFIO_USER_DMA_MAP', iova)
    if (refusal !== null || attached === null) {
      if (fd !== null) close(fd)
      throw refusal
    }
    const access = dmaAccess(map.flags)
    if (fd !== null) attached.windows.add(iova, size, fd, map.offset, access)
    this.#ranges.push({ iova, size, mapped: fd !== null, ...access })
    this.#ranges.sort((a, b) => (a.iova < b.iova ? -1 : 1))
  }

  /**
   * The client takes ranges away: whole ones, any number of them.
   * @returns how many bytes that were
   * @throws VfioError EINVAL for a range that cuts one in two; it stays as it was
   * @internal
   */
  unmap(unmap: DmaUnmap): bigint {
    const all = (unmap.flags & UNMAP_FLAG.all) !== 0
    const { iova, size } = unmap
    const hit = all ? this.#ranges : this.#ranges.filter((each) => overlaps(each, iova, size))
    const cut = (each: UserDmaRange): boolean => each.iova < iova || each.iova + each.size > iova + size
    if (!all && hit.some(cut)) throw this.#refusal(EINVAL, 'VFIO_USER_DMA_UNMAP', iova)
    this.#ranges = this.#ranges.filter((each) => !hit.includes(each))
    for (const each of hit) if (each.mapped) this.#attached?.windows.remove(each.iova, each.size)
    return hit.reduce((total, each) => total + each.size, 0n)
  }

  #covered(iova: bigint, length: number, wanted: (range: UserDmaRange) => boolean): boolean {
    let at = iova
    const end = iova + BigInt(length)
    for (let i = this.#firstBehind(iova); at < end; i++) {
      const range = this.#ranges[i]
      if (range === undefined || range.iova > at || !wanted(range)) return false
      at = range.iova + range.size
    }
    return true
  }

  /** The first range that ends behind an address. */
  #firstBehind(iova: bigint): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      const range = this.#ranges[middle]
      if (range !== undefined && range.iova + range.size <= iova) low = middle + 1
      else high = middle
    }
    return low
  }

  #check(call: string, iova: bigint, length: number, mapped: boolean): DmaAttachment {
    bigint(iova, 'iova', 0n, MAX_U64)
    const attached = this.#attached
    if (attached === null) {
      throw this.#refusal(ENOTCONN, call, iova, 'No client is connected: see onConnect.')
    }
    if (!this.#mastering()) {
      const remedy =
        'The client has bus mastering off (PCI_COMMAND_MASTER), as after a reset: its driver turns it on.'
      throw this.#refusal(EACCES, call, iova, remedy)
    }
    const writes = call === WRITE
    if (this.#covered(iova, length, (each) => (writes ? each.write : each.read) && (each.mapped || !mapped)))
      return attached
    if (!this.#covered(iova, length, () => true))
      throw this.#refusal(EFAULT, call, iova, 'The client has shown no memory there: see dma.ranges.')
    if (!this.#covered(iova, length, (each) => (writes ? each.write : each.read))) {
      const remedy = `The client lets the device ${writes ? 'read' : 'write'} there only.`
      throw this.#refusal(EACCES, call, iova, remedy)
    }
    const remedy =
      'That memory came without a descriptor: use dma.read() and dma.write(), which send messages.'
    throw this.#refusal(EFAULT, call, iova, remedy)
  }

  #refusal(errno: number, call: string, iova: bigint, remedy?: string): VfioError {
    const subject = `${this.#name} at ${hex(iova)}`
    return new VfioError(errno, call, remedy === undefined ? { subject } : { subject, remedy })
  }
}

function overlaps(range: UserDmaRange, iova: bigint, size: bigint): boolean {
  return iova < range.iova + range.size && range.iova < iova + size
}
