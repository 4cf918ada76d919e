// FaultQueue: page requests of devices, and the answers to them.
import { addon, type NativeHandle } from '../../native/index.js'
import { type PageRequest, decodePageRequests, encodePageResponse } from '../../uapi/iommufd/page-request.js'
import { instance, integer, oneOf } from '../../validate.js'
import { Iommufd } from './iommufd.js'
import { RecordQueue } from './queue.js'

/** Where the page faults of hardware page tables go (IOMMU_FAULT_QUEUE_ALLOC, Linux 6.11). */
export class FaultQueue extends RecordQueue<PageRequest> {
  private constructor(native: NativeHandle) {
    super(native, 'FaultQueue')
  }

  static allocate(iommufd: Iommufd): FaultQueue {
    return new FaultQueue(addon().faultQueueAlloc(instance(iommufd, Iommufd, 'iommufd').native))
  }

  /**
   * Answers the group of requests that a cookie stands for: the page is there now, or the device may not have it.
   * @throws VfioError EINVAL for a cookie that is not waiting
   */
  respond(cookie: number, answer: 'success' | 'invalid'): void {
    integer(cookie, 'cookie', 0, 0xffff_ffff)
    oneOf(answer, 'answer', ['success', 'invalid'])
    addon().queueWrite(this.native, encodePageResponse(cookie, answer))
  }

  /** @internal */
  protected override decode(bytes: Uint8Array): PageRequest[] {
    return decodePageRequests(bytes)
  }
}
