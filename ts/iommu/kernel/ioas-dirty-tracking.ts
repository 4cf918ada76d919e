// Dirty tracking of an IOAS, which the kernel does by page table: a page is dirty when one of the space's tables says so.
import { EINVAL, EOPNOTSUPP, VfioError, attempt } from '../../errors.js'
import { DirtyBitmap } from '../../memory/dirty-bitmap.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { type DirtyTracking, checkBitmapRange } from '../dirty-tracking.js'
import { TRACKING, release } from '../iommufd/tracking-tables.js'
import type { DmaCalls } from './dma-calls.js'

export class IoasDirtyTracking implements DirtyTracking {
  readonly #ioas: () => NativeHandle
  readonly #calls: DmaCalls

  constructor(ioas: () => NativeHandle, calls: DmaCalls) {
    this.#ioas = ioas
    this.#calls = calls
  }

  start(): void {
    this.#need('IOMMU_HWPT_SET_DIRTY_TRACKING', TRACKING.possible)
    // Starting anew would clear the marks.
    if (addon().ioasTracking(this.#ioas()) === TRACKING.running) return
    try {
      this.#set(TRACKING.running)
    } catch (error) {
      try {
        this.#set(TRACKING.possible)
      } catch {
        // The first error is the one that says why.
      }
      throw error
    }
  }

  stop(): void {
    this.#need('IOMMU_HWPT_SET_DIRTY_TRACKING', TRACKING.possible)
    this.#set(TRACKING.possible)
  }

  bitmap(iova: bigint, size: number, pageSize: number): DirtyBitmap {
    return this.#read(iova, size, pageSize, false)
  }

  unmap(iova: bigint, size: number, pageSize: number): DirtyBitmap {
    // What is unmapped next need not be marked clean in the page tables.
    const marks = this.#read(iova, size, pageSize, true)
    this.#calls.unmap(iova, size)
    return marks
  }

  /** A page is dirty when it is in one of the tables. */
  #read(iova: bigint, size: number, pageSize: number, keep: boolean): DirtyBitmap {
    const subject = checkBitmapRange(iova, size, pageSize)
    this.#need('IOMMU_HWPT_GET_DIRTY_BITMAP', TRACKING.running)
    const bytes = new Uint8Array(8 * Math.ceil(size / pageSize / 64))
    this.#each(addon().ioasTables(this.#ioas()), (table) => {
      const own = attempt({ subject }, () =>
        addon().hwptGetDirtyBitmap(table, iova, BigInt(size), BigInt(pageSize), keep),
      )
      own.forEach((bits, at) => {
        bytes[at] = (bytes[at] ?? 0) | bits
      })
    })
    return new DirtyBitmap(bytes, iova, size / pageSize, pageSize)
  }

  #set(tracking: number): void {
    this.#each(addon().ioasTrack(this.#ioas(), tracking), (table) => {
      addon().hwptSetDirtyTracking(table, tracking === TRACKING.running)
    })
  }

  #each(tables: NativeHandle[], use: (table: NativeHandle) => void): void {
    try {
      tables.forEach(use)
    } finally {
      release(tables)
    }
  }

  #need(call: string, least: number): void {
    const tracking = addon().ioasTracking(this.#ioas())
    if (tracking === TRACKING.none) {
      throw new VfioError(EOPNOTSUPP, call, {
        remedy:
          "The page tables that the kernel makes for an address space track nothing: AddressSpace.open({ iommu: 'iommufd', dirtyTracking: true }).",
      })
    }
    if (tracking < least) {
      throw new VfioError(EINVAL, call, { remedy: 'Dirty tracking does not run: call start() first.' })
    }
  }
}
