// What only the kernel's device has: its place in an iommufd, writes by eventfd, the reset of its bus, its display, and its
// memory as a file. One call of the kernel each; what the answers mean is decided by who asks.
import type { EventFd } from '../../event/eventfd.js'
import { attachTo } from '../../iommu/iommufd/attach.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { KernelDevice } from '../backend.js'
import type { RegionInfo } from '../info.js'

export class KernelOnly implements KernelDevice {
  readonly #own: () => NativeHandle

  constructor(own: () => NativeHandle) {
    this.#own = own
  }

  get handle(): NativeHandle {
    return this.#own()
  }

  get fd(): number {
    return addon().handleFd(this.#own())
  }

  get iommufdId(): number | null {
    return addon().deviceIommufdId(this.#own())
  }

  get hasGroup(): boolean {
    return addon().deviceHasGroup(this.#own())
  }

  attachIoas(ioas: NativeHandle, pasid: number | null): Promise<void> {
    return attachTo(ioas, this.#own(), pasid)
  }

  attachHwpt(hwpt: NativeHandle, pasid: number | null): Promise<void> {
    return addon().deviceAttachHwpt(this.#own(), hwpt, pasid)
  }

  detach(pasid: number | null): Promise<void> {
    return addon().deviceDetach(this.#own(), pasid)
  }

  ioeventfd(
    { fileOffset }: RegionInfo,
    offset: number,
    width: number,
    data: bigint,
    eventfd: EventFd,
  ): NativeHandle {
    return addon().deviceIoeventfd(this.#own(), fileOffset + offset, width, data, eventfd.native)
  }

  hotResetInfo(): { flags: number; devices: Uint8Array } {
    return addon().deviceHotResetInfo(this.#own())
  }

  hotReset(owners: readonly KernelDevice[]): Promise<void> {
    return addon().deviceHotReset(
      this.#own(),
      owners.map(({ handle }) => handle),
    )
  }

  hotResetSync(owners: readonly KernelDevice[]): void {
    addon().deviceHotResetSync(
      this.#own(),
      owners.map(({ handle }) => handle),
    )
  }

  queryPlane(flags: number, planeType: number): Uint8Array {
    return addon().deviceQueryGfxPlane(this.#own(), flags, planeType)
  }

  planeDmaBuf(id: number): NativeHandle {
    return addon().deviceGetGfxDmabuf(this.#own(), id)
  }

  exportDmaBuf(region: number, ranges: readonly bigint[]): NativeHandle {
    return addon().deviceExportDmaBuf(this.#own(), region, ranges)
  }
}
