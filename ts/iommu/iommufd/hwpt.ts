// Hwpt: a hardware page table of an iommufd, which devices are attached to in place of the address space that it translates
// for.
import { attempt } from '../../errors.js'
import { Handle } from '../../handle.js'
import { DirtyBitmap } from '../../memory/dirty-bitmap.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { boolean, bytes as bytesOf, instance, integer, object, options as optionsOf } from '../../validate.js'
import { type AddressSpace } from '../address-space.js'
import { checkBitmapRange } from '../dirty-tracking.js'
import { FaultQueue } from './fault-queue.js'
import type { Iommufd } from './iommufd.js'

/** A device that is bound to an iommufd: a VfioDevice that was opened by its own node. */
export interface IommufdDevice {
  /** Its number in the iommufd; null for one that was opened by its group. */
  readonly iommufdId: number | null
  readonly addressSpace: { readonly iommufd: Iommufd | null }
}

/** Data of a kind that the IOMMU's driver defines; see `<linux/iommufd.h>`. */
export interface IommuData {
  /** For example 1, `IOMMU_HWPT_DATA_VTD_S1`. */
  readonly type: number
  readonly bytes: Uint8Array
}

export interface HwptOptions {
  /** Others may be nested in it (IOMMU_HWPT_ALLOC_NEST_PARENT, Linux 6.7). */
  nestParent?: boolean
  /** It can track dirty pages (IOMMU_HWPT_ALLOC_DIRTY_TRACKING, Linux 6.7). */
  dirtyTracking?: boolean
  /** PASIDs may be attached to it (IOMMU_HWPT_ALLOC_PASID, Linux 6.14). */
  pasid?: boolean
  /** Where page faults go (IOMMU_HWPT_FAULT_ID_VALID, Linux 6.11). */
  faultQueue?: FaultQueue
  /** The guest's own page table, for one that is nested in a parent. */
  data?: IommuData
}

const ALLOC = { nestParent: 1, dirtyTracking: 1 << 1, pasid: 1 << 3 } as const

/** The number of a bound device. */
export function deviceIdOf(device: IommufdDevice): number {
  const id = object(device, 'device').iommufdId
  if (id === null)
    throw new TypeError("device must be opened by its own node (iommu: 'iommufd'), not by its group")
  return integer(id, 'device.iommufdId', 0, 0xffff_ffff)
}

/** Data with a type, checked; a copy of the bytes, for the kernel may write there. */
export function dataOf(data: IommuData | undefined): { type: number; bytes: Uint8Array | null } {
  if (data === undefined) return { type: 0, bytes: null }
  return {
    type: integer(data.type, 'data.type', 0, 0xffff_ffff),
    bytes: bytesOf(data.bytes, 'data.bytes').slice(),
  }
}

/** IOMMU_HWPT_INVALIDATE. */
export function invalidate(native: NativeHandle, data: IommuData, entryLength: number): number {
  const { type, bytes } = object(data, 'data')
  integer(type, 'type', 0, 0xffff_ffff)
  integer(entryLength, 'entryLength', 1, 4096)
  const entries = bytesOf(bytes, 'bytes')
  if (entries.length % entryLength !== 0) throw new RangeError('bytes must hold whole entries')
  return addon().hwptInvalidate(native, type, entryLength, entries)
}

/** The dirty pages of a hardware page table (Linux 6.7). */
export class HwptDirtyTracking {
  readonly #hwpt: () => NativeHandle

  /** @internal */
  constructor(hwpt: () => NativeHandle) {
    this.#hwpt = hwpt
  }

  /** IOMMU_HWPT_SET_DIRTY_TRACKING. @throws VfioError EOPNOTSUPP when it was not allocated for that */
  start(): void {
    addon().hwptSetDirtyTracking(this.#hwpt(), true)
  }

  stop(): void {
    addon().hwptSetDirtyTracking(this.#hwpt(), false)
  }

  /**
   * The pages written to in [iova, iova + size) (IOMMU_HWPT_GET_DIRTY_BITMAP).
   * @param iova start of the range, a multiple of `pageSize`
   * @param size bytes, a multiple of `pageSize`
   * @param pageSize bytes, a power of two
   * @param options `clear` false leaves the marks, for a range that is unmapped next (default true)
   */
  bitmap(iova: bigint, size: number, pageSize: number, options?: { clear?: boolean }): DirtyBitmap {
    const { clear = true } = optionsOf(options, 'options')
    boolean(clear, 'clear')
    const subject = checkBitmapRange(iova, size, pageSize)
    const bytes = attempt({ subject }, () =>
      addon().hwptGetDirtyBitmap(this.#hwpt(), iova, BigInt(size), BigInt(pageSize), !clear),
    )
    return new DirtyBitmap(bytes, iova, size / pageSize, pageSize)
  }
}

/** A hardware page table (Linux 6.6). `device.attach(hwpt)` puts a device on it. */
export class Hwpt extends Handle {
  /** Its number in the iommufd. */
  readonly id: number
  readonly dirtyTracking: HwptDirtyTracking

  private constructor(native: NativeHandle) {
    super(native, 'Hwpt')
    this.id = addon().iommufdObjectId(native)
    this.dirtyTracking = new HwptDirtyTracking(() => this.native)
  }

  /**
   * Makes one for a device (IOMMU_HWPT_ALLOC): over an address space, or nested in a page table or a vIOMMU.
   * @throws VfioError EOPNOTSUPP when the IOMMU cannot do what is asked; ENOENT when the device is of another iommufd
   */
  static allocate(device: IommufdDevice, parent: AddressSpace | Hwpt | Handle, options?: HwptOptions): Hwpt {
    const id = deviceIdOf(device)
    instance(parent, Handle, 'parent')
    const given = optionsOf(options, 'options')
    let flags = 0
    for (const name of ['nestParent', 'dirtyTracking', 'pasid'] as const) {
      const wanted = given[name]
      if (wanted !== undefined && boolean(wanted, name)) flags |= ALLOC[name]
    }
    const faults =
      given.faultQueue === undefined ? null : instance(given.faultQueue, FaultQueue, 'faultQueue')
    const { type, bytes } = dataOf(given.data)
    return new Hwpt(addon().hwptAlloc(parent.native, id, flags, type, bytes, faults?.native ?? null))
  }

  /**
   * Tells the IOMMU that entries of a nested page table have changed (IOMMU_HWPT_INVALIDATE, Linux 6.8).
   * @param data whole entries of `entryLength` bytes, of the driver's kind
   * @returns how many were handled
   */
  invalidate(data: IommuData, entryLength: number): number {
    return invalidate(this.native, data, entryLength)
  }

  /** Lets go of it: it is destroyed once no device is on it and nothing that was made from it is left. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
