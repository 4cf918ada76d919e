// Dirty tracking of a type1 container (VFIO_IOMMU_DIRTY_PAGES).
import { attempt } from '../../errors.js'
import { DirtyBitmap } from '../../memory/dirty-bitmap.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { type DirtyTracking, checkBitmapRange } from '../dirty-tracking.js'

const START = 1
const STOP = 2

export class Type1DirtyTracking implements DirtyTracking {
  readonly #container: () => NativeHandle

  constructor(container: () => NativeHandle) {
    this.#container = container
  }

  start(): void {
    addon().containerDirtyPages(this.#container(), START)
  }

  stop(): void {
    addon().containerDirtyPages(this.#container(), STOP)
  }

  bitmap(iova: bigint, size: number, pageSize: number): DirtyBitmap {
    const subject = checkBitmapRange(iova, size, pageSize)
    const bytes = attempt({ subject }, () =>
      addon().containerDirtyBitmap(this.#container(), iova, BigInt(size), BigInt(pageSize)),
    )
    return new DirtyBitmap(bytes, iova, size / pageSize, pageSize)
  }

  unmap(iova: bigint, size: number, pageSize: number): DirtyBitmap {
    const subject = checkBitmapRange(iova, size, pageSize)
    const bytes = attempt({ subject }, () =>
      addon().containerUnmapDirty(this.#container(), iova, BigInt(size), BigInt(pageSize)),
    )
    return new DirtyBitmap(bytes, iova, size / pageSize, pageSize)
  }
}
