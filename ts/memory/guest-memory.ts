// GuestMemory: page-aligned memory that JavaScript, the IOMMU and guests can share. Knows nothing of IOVAs.
import { constants } from 'node:buffer'

import { EOPNOTSUPP, VfioError, attempt } from '../errors.js'
import { type ShareToken, SharedHandle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { integer, internal, oneOf, options as optionsOf } from '../validate.js'
import { pageSize as ordinaryPage } from './page.js'

export type HugePages = '2M' | '1G'

export interface MemoryOptions {
  /** Take the memory from the pool of huge pages of this size (default: ordinary pages). */
  hugePages?: HugePages
  /** Take the memory from this NUMA node only, 0 to 1023 (MPOL_BIND; default: wherever it is first touched). */
  numaNode?: number
}

const HUGE_PAGE_BITS: Record<HugePages, number> = { '2M': 21, '1G': 30 }

/** The most bytes one ArrayBuffer may span: V8's own limit, and never above 4 GiB. */
export const MAX_WINDOW = Math.min(constants.MAX_LENGTH, 2 ** 32)

interface Origin {
  memory: GuestMemory
  /** Bytes from the start of the memory to the start of the buffer. */
  offset: number
}

// Keeps the memory for as long as the ArrayBuffer lives, and finds it again for `space.map(view)`.
const origins = new WeakMap<ArrayBufferLike, Origin & { owner: object }>()

/** The memory behind an ArrayBuffer of ours, or undefined for any other. @internal */
export function originOf(buffer: ArrayBufferLike): Origin | undefined {
  return origins.get(buffer)
}

/**
 * A memfd, ordinary or hugetlb, or a file given as a descriptor. Closing it detaches its ArrayBuffers; what the IOMMU has
 * mapped stays pinned until it is unmapped.
 */
export class GuestMemory extends SharedHandle<'GuestMemory'> {
  /** Bytes, a multiple of `pageSize`. */
  readonly size: number
  /** The size of its pages in bytes: alignment for offsets and IOVAs. */
  readonly pageSize: number
  /**
   * Whether nobody can make it shorter, whoever has its descriptor (F_SEAL_SHRINK): so for memory made here. Of other memory,
   * what somebody cuts off reads as all ones from then on and takes no writes.
   */
  readonly sealed: boolean
  #buffer: ArrayBuffer | undefined

  private constructor(native: NativeHandle) {
    super(internal(native, 'GuestMemory', 'GuestMemory.create(size)'), 'GuestMemory')
    const { size, pageSize, sealed } = addon().memoryInfo(native)
    this.size = size
    this.pageSize = pageSize
    this.sealed = sealed
  }

  /**
   * Makes anonymous memory, zeroed and sealed at its size.
   * @param size bytes, 1 to 2^46; rounded up to whole pages
   * @throws VfioError ENOSPC or ENOMEM when the huge page pool is too small; EINVAL of mbind for a node without memory
   */
  static create(size: number, options?: MemoryOptions): GuestMemory {
    integer(size, 'size', 1, 2 ** 46)
    const { hugePages, numaNode } = optionsOf(options, 'options')
    if (hugePages !== undefined) oneOf(hugePages, 'hugePages', ['2M', '1G'])
    if (numaNode !== undefined) integer(numaNode, 'numaNode', 0, 1023)
    const bits = hugePages === undefined ? 0 : HUGE_PAGE_BITS[hugePages]
    const page = bits === 0 ? ordinaryPage() : 2 ** bits
    const rounded = Math.ceil(size / page) * page
    const subject = `${String(rounded)} bytes${hugePages === undefined ? '' : ` in ${hugePages} pages`}`
    return new GuestMemory(attempt({ subject }, () => addon().memoryCreate(rounded, bits, numaNode ?? null)))
  }

  /** Takes ownership of a descriptor that can be mapped shared, a memfd for example. Its size is the file's. */
  static fromFd(fd: number): GuestMemory {
    return new GuestMemory(addon().memoryFromFd(integer(fd, 'fd', 0, 0x7fff_ffff)))
  }

  /** The object behind a token, in this environment. Its ArrayBuffers show the same bytes. */
  static claim(token: ShareToken): GuestMemory {
    return SharedHandle.claimed(
      token,
      'GuestMemory',
      (native) => new GuestMemory(native),
      () => 'memory',
    )
  }

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /**
   * All of it as one ArrayBuffer, the same at every call. It keeps the memory alive.
   * @throws VfioError EOPNOTSUPP above 4 GiB: use `window()`
   */
  get buffer(): ArrayBuffer {
    if (this.#buffer === undefined || this.closed) {
      if (this.size > MAX_WINDOW) {
        throw new VfioError(EOPNOTSUPP, 'mmap', {
          subject: `${String(this.size)} bytes`,
          remedy: `One ArrayBuffer holds at most ${String(MAX_WINDOW)} bytes: use window(offset, length).`,
        })
      }
      this.#buffer = this.window(0, this.size)
    }
    return this.#buffer
  }

  /** Part of it as an ArrayBuffer of its own. */
  window(offset: number, length: number): ArrayBuffer {
    integer(offset, 'offset', 0, this.size - 1)
    integer(length, 'length', 1, Math.min(this.size - offset, MAX_WINDOW))
    const buffer = addon().memoryWindow(this.native, offset, length)
    origins.set(buffer, { memory: this, offset, owner: this })
    return buffer
  }

  /** Makes the memory's ArrayBuffer hold another object too. @internal */
  static keep(buffer: ArrayBuffer, owner: object): void {
    const origin = origins.get(buffer)
    if (origin !== undefined) origin.owner = owner
  }

  /** Detaches the ArrayBuffers and gives the memory back once nothing has it mapped. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
