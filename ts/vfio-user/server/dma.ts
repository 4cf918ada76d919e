// DeviceDma: how a device reaches its client's memory. Owns the list of the ranges that the client has shown; bytes move in its
// windows, or by messages, which are behind it.
import { EACCES, EBUSY, EEXIST, EINVAL, ENOSPC, VfioError } from '../../errors.js'
import type { DmaBufFile } from '../../memory/dma-buf-file.js'
import { bytes as bytesOf, integer } from '../../validate.js'
import { UNMAP_FLAG } from '../protocol/constants.js'
import { type DmaMap, type DmaUnmap, dmaAccess } from '../protocol/dma.js'
import type { WindowReach, Windows } from '../windows.js'

/** DMA by message, for memory that came without a descriptor. */
export interface MessageTransfer {
  read(iova: bigint, target: Uint8Array): Promise<void>
  write(iova: bigint, source: Uint8Array): Promise<void>
}

/** A range of memory that the client has shown. */
export interface UserDmaRange {
  readonly iova: bigint
  readonly size: bigint
  /** What the device may do there. */
  readonly read: boolean
  readonly write: boolean
  /** Whether it is mapped here: else it is reached by messages, which `read()` and `write()` do. */
  readonly mapped: boolean
}

const READ = 'VFIO_USER_DMA_READ'
const WRITE = 'VFIO_USER_DMA_WRITE'
const ENOTCONN = 107
const MOST_LENGTH = 2 ** 32 - 1
/** Linux lets a process have 65530 mappings; one client is not to take them from everybody else in it. @internal */
export const MOST_RANGES = 16_384
const LEAST_PAGE = 4096
const MOST_PAGE = 2n ** 40n

/** What is behind the addresses, while a client is connected. @internal */
export interface DmaAttachment {
  readonly windows: Windows
  readonly messages: MessageTransfer
  readonly mostMaps: number
}

/**
 * The memory of a device's client, by the addresses that its driver gives to the device. Where several ranges are next to each
 * other, one call may go across them.
 */
export class DeviceDma {
  readonly #name: string
  readonly #config: { readonly busMaster: boolean }
  #attached: DmaAttachment | null = null
  #logging = false
  // By ascending address, without overlaps.
  #ranges: UserDmaRange[] = []

  /** @internal */
  constructor(name: string, config: { readonly busMaster: boolean }) {
    this.#name = name
    this.#config = config
  }

  /** Whether there is a client whose memory this is. */
  get connected(): boolean {
    return this.#attached !== null
  }

  /** What the client has shown, by ascending address. */
  get ranges(): readonly UserDmaRange[] {
    return [...this.#ranges]
  }

  /** How far a range can be reached: `mapped`, by every method here; `message`, by `read()` and `write()`; or `none`. */
  reach(iova: bigint, length: number, direction: 'read' | 'write'): WindowReach {
    return this.#attached?.windows.reach(iova, length, direction) ?? 'none'
  }

  /**
   * Copies from the client's memory, all of `target` or nothing.
   * @throws VfioError EFAULT where nothing is mapped, EACCES where the client lets nothing be read or has bus mastering off,
   *   ENOTCONN without a client, EIO when it made its memory's file shorter
   */
  copyIn(iova: bigint, target: Uint8Array): void {
    this.#behind(READ).windows.copyIn(iova, target)
  }

  /** Copies to the client's memory. @throws VfioError as `copyIn()` */
  copyOut(iova: bigint, source: Uint8Array): void {
    this.#behind(WRITE).windows.copyOut(iova, source)
  }

  /**
   * Copies pieces of the client's memory into one range of bytes: a chain of descriptors in one call.
   * @param pieces addresses and sizes in turn; together as many bytes as `target` has
   */
  gather(pieces: BigUint64Array, target: Uint8Array): void {
    this.#behind(READ).windows.gather(pieces, target)
  }

  /** Copies one range of bytes into pieces of the client's memory. */
  scatter(pieces: BigUint64Array, source: Uint8Array): void {
    this.#behind(WRITE).windows.scatter(pieces, source)
  }

  /**
   * The client's memory itself, which must lie in one range. It is detached (its length is 0) as soon as the client takes the
   * memory away or goes: look at `byteLength` before each use. What is written to it is not in a log of dirty pages: see
   * `markDirty()`.
   * @throws VfioError as `copyIn()`, and EACCES where the client lets nothing be written
   */
  window(iova: bigint, length: number): ArrayBuffer {
    return this.#behind(WRITE).windows.window(iova, length)
  }

  /**
   * Pieces of the client's memory as one dma-buf, without a copy: for other devices of the host, such as a DRM card. It takes
   * /dev/udmabuf (CONFIG_UDMABUF), and a client that gave its memory as files sealed at their size, as QEMU does. What it shows stays
   * the client's memory until you close it, also if the client takes the range away or goes.
   * @param pieces addresses and sizes in turn, of whole pages; at most 1024 separate parts unless udmabuf's list_limit says otherwise
   * @throws VfioError ENOENT of `open` without udmabuf, EOPNOTSUPP for memory that may become shorter, EINVAL for other pieces
   */
  dmaBuf(pieces: BigUint64Array): DmaBufFile {
    return this.#behind(READ).windows.dmaBuf(pieces)
  }

  /** Tells a log of dirty pages what was written through a `window()`. */
  markDirty(iova: bigint, length: number): void {
    this.#attached?.windows.markDirty(iova, length)
  }

  /**
   * Reads the client's memory wherever it is: in a window at once, else by message, once what is being served is answered. A
   * handler that waits for a message before it answers a read waits in vain: answer first.
   * @param target what is filled, or how many bytes are to be read
   * @throws VfioError as `copyIn()`; what the client says to a message; ETIMEDOUT when it says nothing for 5 seconds
   */
  async read(iova: bigint, target: ArrayBufferView | number): Promise<Uint8Array> {
    const bytes =
      typeof target === 'number'
        ? new Uint8Array(integer(target, 'target', 0, MOST_LENGTH))
        : bytesOf(target, 'target')
    const { windows, messages } = this.#behind(READ)
    if (windows.reach(iova, bytes.length, 'read') === 'message') await messages.read(iova, bytes)
    else windows.copyIn(iova, bytes)
    return bytes
  }

  /** Writes the client's memory, in the same way. Writes by message arrive in the order of their calls. */
  async write(iova: bigint, source: ArrayBufferView): Promise<void> {
    const bytes = bytesOf(source, 'source')
    const { windows, messages } = this.#behind(WRITE)
    if (windows.reach(iova, bytes.length, 'write') !== 'message') {
      windows.copyOut(iova, bytes)
      return
    }
    await messages.write(iova, bytes)
    this.markDirty(iova, bytes.length)
  }

  // -- for a session --

  /** A client has come. @internal */
  attach(attachment: DmaAttachment): void {
    this.#attached = attachment
  }

  /** The client is gone, and its memory with it. @internal */
  detach(): void {
    const attached = this.#attached
    this.#attached = null
    this.#logging = false
    this.#ranges = []
    attached?.windows.close()
  }

  /**
   * The client shows a range. The descriptor stays the caller's.
   * @throws VfioError EEXIST for one that overlaps another, ENOSPC for too many; what mapping refuses
   * @internal
   */
  map(map: DmaMap, fd: number | undefined): void {
    const { iova, size, offset } = map
    const attached = this.#attached
    const refusal = (errno: number): VfioError =>
      new VfioError(errno, 'VFIO_USER_DMA_MAP', { subject: `${this.#name} at 0x${iova.toString(16)}` })
    if (attached === null) throw refusal(ENOTCONN)
    if (this.#ranges.length >= Math.min(attached.mostMaps, MOST_RANGES)) throw refusal(ENOSPC)
    const place = this.#firstBehind(iova)
    const next = this.#ranges[place]
    if (next !== undefined && next.iova < iova + size) throw refusal(EEXIST)
    const access = dmaAccess(map.flags)
    attached.windows.add(iova, size, fd, offset, access)
    this.#ranges.splice(place, 0, { iova, size, mapped: fd !== undefined, ...access })
  }

  /**
   * The client takes ranges away: whole ones, any number of them.
   * @returns how many bytes that were
   * @throws VfioError EINVAL for a range that cuts one in two; all stays as it was
   * @internal
   */
  unmap({ flags, iova, size }: DmaUnmap): bigint {
    const all = (flags & UNMAP_FLAG.all) !== 0
    const first = all ? 0 : this.#firstBehind(iova)
    let last = first
    for (let each = this.#ranges[last]; each !== undefined; each = this.#ranges[++last]) {
      if (all) continue
      if (each.iova >= iova + size) break
      if (each.iova < iova || each.iova + each.size > iova + size) {
        throw new VfioError(EINVAL, 'VFIO_USER_DMA_UNMAP', {
          subject: `${this.#name} at 0x${iova.toString(16)}`,
          remedy: 'The range cuts a mapping in two: unmap whole mappings.',
        })
      }
    }
    const gone = this.#ranges.splice(first, last - first)
    for (const each of gone) this.#attached?.windows.remove(each.iova, each.size)
    return gone.reduce((total, each) => total + each.size, 0n)
  }

  /** Whether a log of dirty pages is kept. @internal */
  get logging(): boolean {
    return this.#logging
  }

  /** @throws VfioError EBUSY while there is one @internal */
  startLog(pageSize: bigint): void {
    const call = 'VFIO_DEVICE_FEATURE_DMA_LOGGING_START'
    if (this.#logging) throw new VfioError(EBUSY, call, { subject: this.#name })
    if (pageSize > MOST_PAGE) throw new VfioError(EINVAL, call, { subject: this.#name })
    this.#attached?.windows.startDirtyLog(Math.max(Number(pageSize), LEAST_PAGE))
    this.#logging = true
  }

  /** @internal */
  stopLog(): void {
    this.#attached?.windows.stopDirtyLog()
    this.#logging = false
  }

  /** The bits of a range, which are forgotten by this. @internal */
  takeDirty(iova: bigint, size: bigint, pageSize: bigint): Uint8Array {
    const windows = this.#attached?.windows
    if (windows === undefined || pageSize < LEAST_PAGE || pageSize > MOST_PAGE)
      throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT', { subject: this.#name })
    return windows.takeDirty(iova, size, Number(pageSize)).bytes
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

  #behind(call: string): DmaAttachment {
    const attached = this.#attached
    if (attached === null) {
      throw new VfioError(ENOTCONN, call, {
        subject: this.#name,
        remedy: 'No client is connected: see onConnect and onDisconnect.',
      })
    }
    if (!this.#config.busMaster) {
      throw new VfioError(EACCES, call, {
        subject: this.#name,
        remedy:
          'The client has bus mastering off (PCI_COMMAND_MASTER), as after a reset: its driver turns it on.',
      })
    }
    return attached
  }
}
