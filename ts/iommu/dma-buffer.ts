// DmaBuffer: memory together with its one mapping. The address space makes it; closing it undoes both.
import { Handle, type ShareToken, claimNative, readToken } from '../handle.js'
import { addon, type NativeHandle } from '../native.js'
import { integer } from '../validate.js'
import { GuestMemory } from './guest-memory.js'

/** What a DmaBuffer needs of the space it lives in. Not part of the public surface. */
export interface DmaOwner {
  /** Stops the DMA of devices that could still reach the range; the function that comes back lets it go on. */
  quiesce(): () => void
  forget(buffer: DmaBuffer): void
}

/**
 * Memory that a device reaches at `iova` and JavaScript at `buffer`. close() unmaps it and gives it back. While it does,
 * bus mastering is off on every device of the space that had it on, since such a device could still be writing there: a
 * transfer to another buffer that runs just then may be cut short.
 */
export class DmaBuffer extends Handle {
  /** Where the device sees it. */
  readonly iova: bigint
  /** Bytes, a multiple of the page size. */
  readonly size: number
  /** The memory itself, for mapping it elsewhere too. */
  readonly memory: GuestMemory
  readonly #owner: DmaOwner | undefined
  #resume: (() => void) | undefined

  /** @internal */
  constructor(
    mapping: NativeHandle,
    memory: GuestMemory,
    iova: bigint,
    size: number,
    owner: DmaOwner | undefined,
  ) {
    super(mapping, `DmaBuffer at 0x${iova.toString(16)}`)
    this.memory = memory
    this.iova = iova
    this.size = size
    this.#owner = owner
  }

  /** The buffer behind a token, in this environment: the same mapping, with an ArrayBuffer of its own. */
  static claim(token: ShareToken): DmaBuffer {
    const { id, memory, iova, size } = readToken(token, 'DmaBuffer')
    if (typeof iova !== 'bigint' || typeof size !== 'number')
      throw new TypeError('token must be what share() returned')
    const shared = GuestMemory.claim(memory as ShareToken)
    try {
      return new DmaBuffer(claimNative(id, 'DmaBuffer'), shared, iova, size, undefined)
    } catch (error) {
      shared.close()
      throw error
    }
  }

  /** A token for `DmaBuffer.claim` in another Worker of this process. The mapping ends with its last holder. */
  share(): ShareToken<'DmaBuffer'> {
    const id = addon().handleShare(this.native)
    return { vfio: 'DmaBuffer', id, memory: this.memory.share(), iova: this.iova, size: this.size }
  }

  /**
   * All of it as one ArrayBuffer, the same at every call. It keeps the mapping alive.
   * @throws VfioError EOPNOTSUPP above 4 GiB: use `window()`
   */
  get buffer(): ArrayBuffer {
    const buffer = this.memory.buffer
    GuestMemory.keep(buffer, this)
    return buffer
  }

  /** Part of it as an ArrayBuffer of its own. */
  window(offset: number, length: number): ArrayBuffer {
    integer(offset, 'offset', 0, this.size - 1)
    const buffer = this.memory.window(offset, length)
    GuestMemory.keep(buffer, this)
    return buffer
  }

  /** Unmaps it and gives the memory back; its ArrayBuffers are detached. Idempotent. */
  async close(): Promise<void> {
    await this.closeLater()
    this.#goOn()
  }

  [Symbol.dispose](): void {
    this.closeNow()
    this.#goOn()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  protected override beforeRelease(): void {
    if (this.lastHolder) this.#resume = this.#owner?.quiesce()
    this.#owner?.forget(this)
    this.memory.close()
  }

  #goOn(): void {
    this.#resume?.()
    this.#resume = undefined
  }
}
