// DirtyBitmap: which pages of a range were written to, as the kernel or a device says it. Knows nothing of who tracks them.
import { integer } from '../validate.js'

/** One bit per page. */
export class DirtyBitmap {
  /** @internal */
  constructor(
    /** The bits, least significant first. */
    readonly bytes: Uint8Array,
    readonly iova: bigint,
    /** How many pages the bitmap covers. */
    readonly pages: number,
    /** Bytes per page. */
    readonly pageSize: number,
  ) {}

  /** Whether page `index` (0 to pages - 1) is dirty. */
  has(index: number): boolean {
    integer(index, 'index', 0, this.pages - 1)
    return (((this.bytes[index >> 3] ?? 0) >> (index & 7)) & 1) === 1
  }

  /** How many pages are dirty. */
  get count(): number {
    let total = 0
    const pages = Math.min(this.pages, this.bytes.length * 8)
    for (let index = 0; index < pages; index++) if (this.has(index)) total++
    return total
  }
}
