// Dirty tracking of an address space, whoever counts: what can be asked for, and what is checked before.
import type { DirtyBitmap } from '../memory/dirty-bitmap.js'
import { MAX_U64, bigint, integer } from '../validate.js'

/** Which pages devices may have written to since tracking began or since the last bitmap. */
export interface DirtyTracking {
  /** Nothing when it runs already. */
  start(): void
  stop(): void
  /**
   * The pages written to in [iova, iova + size), cleared by reading.
   * @param iova start of the range, a multiple of `pageSize`
   * @param size bytes, a multiple of `pageSize`; the range must cover whole mappings
   * @param pageSize bytes, the smallest of the space's page sizes
   */
  bitmap(iova: bigint, size: number, pageSize: number): DirtyBitmap
  /**
   * Takes mappings back while tracking runs, with the marks that they had. What a device of iommufd writes between the two is
   * lost: its DMA there must have ended.
   * @param iova start of the range, a multiple of `pageSize`
   * @param size bytes, a multiple of `pageSize`; the range must be of whole mappings
   * @param pageSize bytes, the smallest of the space's page sizes
   */
  unmap(iova: bigint, size: number, pageSize: number): DirtyBitmap
}

/** Checks the arguments of a bitmap; gives its subject. @internal */
export function checkBitmapRange(iova: bigint, size: number, pageSize: number): string {
  bigint(iova, 'iova', 0n, MAX_U64)
  integer(pageSize, 'pageSize', 1, 2 ** 40)
  integer(size, 'size', pageSize, Number.MAX_SAFE_INTEGER)
  if ((pageSize & (pageSize - 1)) !== 0 && !Number.isInteger(Math.log2(pageSize))) {
    throw new RangeError('pageSize must be a power of two')
  }
  if (iova % BigInt(pageSize) !== 0n || size % pageSize !== 0) {
    throw new RangeError('iova and size must be multiples of pageSize')
  }
  return `IOVA 0x${iova.toString(16)}, ${String(size)} bytes`
}
