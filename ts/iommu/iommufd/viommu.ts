// Viommu: what a guest's IOMMU is of the hardware's, with the guest's devices, event queues and hardware queues in it.
import { Handle } from '../../handle.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { type IommuEvent, decodeIommuEvents } from '../../uapi/iommufd/iommu-event.js'
import { MAX_U64, bigint, instance, integer, object } from '../../validate.js'
import { Hwpt, type IommuData, type IommufdDevice, dataOf, deviceIdOf, invalidate } from './hwpt.js'
import { RecordQueue } from './queue.js'

/** 0 is no type (IOMMU_VIOMMU_TYPE_DEFAULT, IOMMU_VEVENTQ_TYPE_DEFAULT, IOMMU_HW_QUEUE_TYPE_DEFAULT). */
function checkType(type: unknown): number {
  return integer(type, 'type', 1, 0xffff_ffff)
}

/** A slice of a hardware IOMMU for a guest (IOMMU_VIOMMU_ALLOC, Linux 6.13). */
export class Viommu extends Handle {
  /** Its number in the iommufd. */
  readonly id: number
  /** The driver's data with what the kernel wrote there; null where none was given. */
  readonly data: Uint8Array | null

  private constructor(native: NativeHandle, data: Uint8Array | null) {
    super(native, 'Viommu')
    this.id = addon().iommufdObjectId(native)
    this.data = data
  }

  /**
   * @param parent a page table with `nestParent`
   * @param options `type` as in `<linux/iommufd.h>` (1, IOMMU_VIOMMU_TYPE_ARM_SMMUV3), `data` as that type demands
   */
  static allocate(device: IommufdDevice, parent: Hwpt, options: { type: number; data?: Uint8Array }): Viommu {
    const id = deviceIdOf(device)
    instance(parent, Hwpt, 'parent')
    const { type, data } = object(options, 'options')
    checkType(type)
    const { bytes } = data === undefined ? { bytes: null } : dataOf({ type, bytes: data })
    return new Viommu(addon().viommuAlloc(parent.native, id, type, bytes), bytes)
  }

  /** Tells the IOMMU that what it caches for the guest has changed (IOMMU_HWPT_INVALIDATE). */
  invalidate(data: IommuData, entryLength: number): number {
    return invalidate(this.native, data, entryLength)
  }

  /** Lets go of it: it is destroyed once nothing that was made in it is left. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** A device as the guest's IOMMU knows it (IOMMU_VDEVICE_ALLOC, Linux 6.13). */
export class Vdevice extends Handle {
  readonly id: number

  private constructor(native: NativeHandle) {
    super(native, 'Vdevice')
    this.id = addon().iommufdObjectId(native)
  }

  /** @param virtualId what the guest's IOMMU calls it: the stream id of an SMMU, the device id of AMD's, the RID of VT-d */
  static allocate(viommu: Viommu, device: IommufdDevice, virtualId: bigint): Vdevice {
    instance(viommu, Viommu, 'viommu')
    bigint(virtualId, 'virtualId', 0n, MAX_U64)
    return new Vdevice(addon().vdeviceAlloc(viommu.native, deviceIdOf(device), virtualId))
  }

  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** A queue of the guest that the hardware serves itself (IOMMU_HW_QUEUE_ALLOC, Linux 6.17). */
export class HwQueue extends Handle {
  readonly id: number

  private constructor(native: NativeHandle) {
    super(native, 'HwQueue')
    this.id = addon().iommufdObjectId(native)
  }

  /** @param options where the queue is: `iova` in the parent page table, mapped and contiguous, `length` in bytes */
  static allocate(
    viommu: Viommu,
    options: { type: number; index: number; iova: bigint; length: bigint },
  ): HwQueue {
    instance(viommu, Viommu, 'viommu')
    const { type, index, iova, length } = object(options, 'options')
    checkType(type)
    integer(index, 'index', 0, 0xffff_ffff)
    bigint(iova, 'iova', 0n, MAX_U64)
    bigint(length, 'length', 1n, MAX_U64)
    return new HwQueue(addon().hwQueueAlloc(viommu.native, type, index, iova, length))
  }

  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The events of a vIOMMU (IOMMU_VEVENTQ_ALLOC, Linux 6.15). */
export class EventQueue extends RecordQueue<IommuEvent> {
  readonly #entryLength: number

  private constructor(native: NativeHandle, entryLength: number) {
    super(native, 'EventQueue')
    this.#entryLength = entryLength
  }

  /** @param options `depth` is the most events it holds, `entryLength` the bytes of an event's data (32 for an SMMUv3) */
  static allocate(viommu: Viommu, options: { type: number; depth: number; entryLength: number }): EventQueue {
    instance(viommu, Viommu, 'viommu')
    const { type, depth, entryLength } = object(options, 'options')
    checkType(type)
    integer(depth, 'depth', 1, 0xffff_ffff)
    integer(entryLength, 'entryLength', 1, 4096)
    return new EventQueue(addon().veventqAlloc(viommu.native, type, depth), entryLength)
  }

  /** @internal */
  protected override decode(bytes: Uint8Array): IommuEvent[] {
    return decodeIommuEvents(bytes, this.#entryLength)
  }
}
