// DmaBuffer: memory together with its one mapping. The address space makes it; closing it undoes both.
import { type ShareToken, SharedHandle } from '../handle.js'
import type { NativeHandle } from '../native/index.js'
import { integer } from '../validate.js'
import { GuestMemory } from '../memory/guest-memory.js'

/** What a DmaBuffer needs of the space it lives in. Not part of the public surface. */
export interface DmaOwner {
  /** Gives memory back, while no device that could still reach it may do so. */
  withoutDma(giveBack: () => void): void
  forget(buffer: DmaBuffer): void
}

/**
 * Memory that a device reaches at `iova` and JavaScript at `buffer`. close() unmaps it and gives it back. Behind an IOMMU
 * nothing else happens: the devices of the space go on with their interrupts and with their other memory. Without one
 * (`noiommu`), where nothing keeps a device from memory that is no longer its own, bus mastering is off for that moment on every
 * device of the space that had it on: a transfer or a message that a device begins just then is lost.
 */
export class DmaBuffer extends SharedHandle<'DmaBuffer'> {
  /** Where the device sees it. */
  readonly iova: bigint
  /** Bytes, a multiple of the page size. */
  readonly size: number
  /** The memory itself, for mapping it elsewhere too. */
  readonly memory: GuestMemory
  readonly #owner: DmaOwner | undefined

  /** @internal */
  constructor(
    mapping: NativeHandle,
    memory: GuestMemory,
    iova: bigint,
    size: number,
    owner: DmaOwner | undefined,
  ) {
    super(mapping, 'DmaBuffer', `DmaBuffer at 0x${iova.toString(16)}`)
    this.memory = memory
    this.iova = iova
    this.size = size
    this.#owner = owner
  }

  /**
   * The buffer behind a token, in this environment: the same mapping, which ends with its last holder, and an ArrayBuffer of
   * its own.
   */
  static claim(token: ShareToken): DmaBuffer {
    return SharedHandle.claimed(token, 'DmaBuffer', (mapping, { memory, iova, size }) => {
      if (typeof iova !== 'bigint' || typeof size !== 'number')
        throw new TypeError('token must come from share()')
      return new DmaBuffer(mapping, GuestMemory.claim(memory as ShareToken), iova, size, undefined)
    })
  }

  /** @internal */
  protected override tokenDetails(): Readonly<Record<string, unknown>> {
    return { memory: this.memory.share(), iova: this.iova, size: this.size }
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
  }

  [Symbol.dispose](): void {
    this.closeNow()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  protected override beforeRelease(): void {
    this.#owner?.forget(this)
    // Pages that an IOMMU shows to devices stay what they are until they are unmapped.
    if (this.#owner !== undefined && this.lastHolder)
      this.#owner.withoutDma(() => {
        this.memory.close()
      })
    else this.memory.close()
  }
}
