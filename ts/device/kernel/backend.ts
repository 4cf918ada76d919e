// The kernel's VFIO device behind the seam: each operation is one call of the kernel.
import { ENOSPC, VfioError } from '../../errors.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { DeviceBackend, DmaLog, IrqData, KernelDevice, MigrationSession } from '../backend.js'
import {
  type DeviceInfo,
  type IrqInfo,
  type RegionArea,
  type RegionInfo,
  decodeDeviceInfo,
  decodeIrqInfo,
  decodeRegionInfo,
} from '../info.js'
import { KernelOnly } from './kernel-device.js'
import { KernelMigrationSession } from './migration-session.js'
import { KernelRegisters } from './registers.js'

/** VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_BOOL, VFIO_IRQ_SET_DATA_EVENTFD */
const IRQ_DATA = { none: 1, bool: 1 << 1, eventfd: 1 << 2 } as const

export class KernelBackend implements DeviceBackend {
  readonly kind = 'kernel'
  readonly dmaLog: DmaLog
  readonly kernel: KernelDevice
  readonly #own: () => NativeHandle
  readonly #label: string

  /**
   * @param own gives the device's file; throws once the device is closed
   * @param label what errors call the device
   */
  constructor(own: () => NativeHandle, label: string) {
    this.#own = own
    this.#label = label
    this.kernel = new KernelOnly(own)
    this.dmaLog = {
      start: (pageSize, ranges) => addon().deviceStartDmaLogging(own(), pageSize, ranges),
      report: (iova, length, pageSize) => addon().deviceReportDmaLogging(own(), iova, length, pageSize),
    }
  }

  info(): DeviceInfo {
    return decodeDeviceInfo(addon().deviceGetInfo(this.#own()))
  }

  regionInfo(index: number): RegionInfo {
    return decodeRegionInfo(addon().deviceGetRegionInfo(this.#own(), index))
  }

  openRegion(info: RegionInfo, areas: readonly RegionArea[]): KernelRegisters {
    return new KernelRegisters(this.#own, info, areas)
  }

  irqInfo(index: number): IrqInfo {
    return decodeIrqInfo(addon().deviceGetIrqInfo(this.#own(), index))
  }

  setIrqs(action: number, index: number, start: number, count: number, data: IrqData): void {
    const plain = data === null || data instanceof Uint8Array
    const kind = plain ? (data === null ? IRQ_DATA.none : IRQ_DATA.bool) : IRQ_DATA.eventfd
    const given = plain ? data : data.map((eventfd) => eventfd?.native ?? null)
    const available = addon().deviceSetIrqs(this.#own(), kind | action, index, start, count, given)
    if (available > 0) throw new VfioError(ENOSPC, 'VFIO_DEVICE_SET_IRQS', { available })
  }

  feature(flags: number, data: Uint8Array): Uint8Array {
    return addon().deviceFeature(this.#own(), flags, data)
  }

  reset(): Promise<void> {
    return addon().deviceReset(this.#own())
  }

  resetSync(): void {
    addon().deviceResetSync(this.#own())
  }

  async migrationSession(state: number): Promise<MigrationSession | null> {
    const native = await addon().deviceSetMigrationState(this.#own(), state)
    return native === null ? null : new KernelMigrationSession(native, this.#label)
  }
}
