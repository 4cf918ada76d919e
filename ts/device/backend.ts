// The seam under a device: the seven operations that a device is made of. The kernel's VFIO device implements it here;
// what speaks the same protocol some other way can stand in its place.
import { ENOSPC, VfioError } from '../errors.js'
import type { EventFd } from '../event/eventfd.js'
import { addon, type NativeHandle } from '../native/index.js'
import {
  type DeviceInfo,
  type IrqInfo,
  type RegionInfo,
  decodeDeviceInfo,
  decodeIrqInfo,
  decodeRegionInfo,
} from './info.js'

/** SET_IRQS data: nothing, one flag per vector, or one eventfd per vector (null: none). */
export type IrqData = null | Uint8Array | readonly (EventFd | null)[]

/** The seven operations. */
export interface DeviceBackend {
  deviceInfo(): DeviceInfo
  regionInfo(index: number): RegionInfo
  irqInfo(index: number): IrqInfo
  /**
   * VFIO_DEVICE_SET_IRQS; `action` is one of IRQ_ACTION, the data's kind follows from `data`.
   * @throws VfioError ENOSPC when the host has fewer vectors than that to spare: `available` of them
   */
  setIrqs(action: number, index: number, start: number, count: number, data: IrqData): void
  regionRead(info: RegionInfo, offset: number, bytes: Uint8Array): void
  regionWrite(info: RegionInfo, offset: number, bytes: Uint8Array): void
  /** VFIO_DEVICE_FEATURE; the data comes back as the kernel left it. */
  feature(flags: number, data: Uint8Array): Uint8Array
  /**
   * The file whose offsets `RegionInfo.fileOffset` counts in, where there is one: accesses then go through it natively,
   * mapped where the region allows.
   */
  readonly file: NativeHandle | null
}

export const IRQ_ACTION = { mask: 1 << 3, unmask: 1 << 4, trigger: 1 << 5 } as const
const IRQ_DATA = { none: 1, bool: 1 << 1, eventfd: 1 << 2 } as const

/** The kernel's VFIO device. */
export class KernelBackend implements DeviceBackend {
  readonly #device: () => NativeHandle

  constructor(device: () => NativeHandle) {
    this.#device = device
  }

  get file(): NativeHandle {
    return this.#device()
  }

  deviceInfo(): DeviceInfo {
    return decodeDeviceInfo(addon().deviceGetInfo(this.#device()))
  }

  regionInfo(index: number): RegionInfo {
    return decodeRegionInfo(addon().deviceGetRegionInfo(this.#device(), index))
  }

  irqInfo(index: number): IrqInfo {
    return decodeIrqInfo(addon().deviceGetIrqInfo(this.#device(), index))
  }

  setIrqs(action: number, index: number, start: number, count: number, data: IrqData): void {
    const plain = data === null || data instanceof Uint8Array
    const kind = plain ? (data === null ? IRQ_DATA.none : IRQ_DATA.bool) : IRQ_DATA.eventfd
    const given = plain ? data : data.map((eventfd) => eventfd?.native ?? null)
    const available = addon().deviceSetIrqs(this.#device(), kind | action, index, start, count, given)
    if (available > 0) throw new VfioError(ENOSPC, 'VFIO_DEVICE_SET_IRQS', { available })
  }

  regionRead(info: RegionInfo, offset: number, bytes: Uint8Array): void {
    const registers = addon().regionOpen(this.#device(), info.fileOffset, info.size, true, false, [])
    try {
      addon().registersRead(registers, offset, bytes)
    } finally {
      addon().registersClose(registers)
    }
  }

  regionWrite(info: RegionInfo, offset: number, bytes: Uint8Array): void {
    const registers = addon().regionOpen(this.#device(), info.fileOffset, info.size, false, true, [])
    try {
      addon().registersWrite(registers, offset, bytes)
    } finally {
      addon().registersClose(registers)
    }
  }

  feature(flags: number, data: Uint8Array): Uint8Array {
    return addon().deviceFeature(this.#device(), flags, data)
  }
}
