// The seam under a device: what has to stand behind one. The kernel's VFIO device does (kernel/); so can whoever speaks the
// same protocol some other way. Nothing above it asks which of them it has.
import type { EventFd } from '../event/eventfd.js'
import type { NativeHandle } from '../native/index.js'
import type { DeviceInfo, IrqInfo, RegionArea, RegionInfo } from '../uapi/vfio/device-info.js'

/** SET_IRQS data: nothing, one flag per vector, or one eventfd per vector (null: none). */
export type IrqData = null | Uint8Array | readonly (EventFd | null)[]

/** What `setIrqs` does with the vectors: VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_ACTION_TRIGGER. */
export const IRQ_ACTION = { mask: 1 << 3, unmask: 1 << 4, trigger: 1 << 5 } as const

/**
 * Figures since a region was opened. Scalar accesses through a mapping are not counted: they are single loads.
 */
export interface RegionCounters {
  /** Accesses that went through the device's file. */
  fileAccesses: number
  /** Bytes moved by read() and write(). */
  bulkBytes: number
}

/**
 * The registers of one region. Offsets count from the region's start. Every access checks for itself: TypeError and RangeError
 * for what cannot be right, EACCES against the region's flags, EBADF after `close()`. The scalar ones are the hot path: a
 * Region calls them and does nothing else.
 */
export interface RegionRegisters {
  read8(offset: number): number
  read16(offset: number): number
  read32(offset: number): number
  read64(offset: number): bigint
  read8Relaxed(offset: number): number
  read16Relaxed(offset: number): number
  read32Relaxed(offset: number): number
  read64Relaxed(offset: number): bigint
  write8(offset: number, value: number): void
  write16(offset: number, value: number): void
  write32(offset: number, value: number): void
  write64(offset: number, value: bigint): void
  write8Relaxed(offset: number, value: number): void
  write16Relaxed(offset: number, value: number): void
  write32Relaxed(offset: number, value: number): void
  write64Relaxed(offset: number, value: bigint): void
  /** Spins until `(value & mask) === equals`: the value, or null when the time is up. */
  poll(offset: number, width: number, mask: bigint, equals: bigint, timeoutMicros: number): bigint | null
  /** Fills the bytes from the region, in the widest accesses that alignment allows. */
  read(offset: number, bytes: Uint8Array): void
  write(offset: number, bytes: Uint8Array): void
  /** Part of one of the areas that were asked for, as memory; absent where nothing is mapped here. */
  window?(offset: number, length: number): ArrayBuffer
  /** Whether a mapped access found the device not answering since the areas were mapped. */
  readonly faulted: boolean
  /** Maps the areas anew. */
  remap(): void
  readonly counters: RegionCounters
  /** What shows the mapped areas to others, to guests and to other devices; absent where nothing is mapped here. */
  readonly native?: NativeHandle
  /** Every access is refused from here on. */
  close(): void
}

/** The data of one migration session. Calls in flight keep it until they end. */
export interface MigrationSession {
  /** Its descriptor, where it is one. */
  readonly fd?: number
  readonly closed: boolean
  /** Up to `size` bytes, none at the end; EAGAIN when none came for a tenth of a second, ENOMSG when there are none for now. */
  read(size: number): Promise<Uint8Array>
  /** How many of the bytes were taken; EAGAIN when none were for a tenth of a second. */
  write(bytes: Uint8Array): Promise<number>
  /** The bytes of vfio_precopy_info; absent where nobody tells what is left. */
  precopyInfo?(): Uint8Array
  /** Lets go of it, not of the state that the device is in. Idempotent. */
  close(): void
}

/**
 * A device's own log of what it wrote by DMA. These features have operations of their own, because the bytes that the kernel
 * takes for them are addresses of this process.
 */
export interface DmaLog {
  /** VFIO_DEVICE_FEATURE_DMA_LOGGING_START: the page size that the device chose. @param ranges IOVA, length pairs, flat */
  start(pageSize: bigint, ranges: readonly bigint[]): bigint
  /** VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: one bit per page. */
  report(iova: bigint, length: bigint, pageSize: bigint): Uint8Array
}

/** A write to a region in place of which the device's side takes a signal: for a VMM to give to its kernel. */
export interface RegionDoorbell {
  /** Of the write, in bytes from the region's start. */
  readonly offset: number
  /** Bytes of the write: 1, 2, 4 or 8; 0 for any. */
  readonly width: number
  /** The value that is written; null for any. */
  readonly match: bigint | null
  /** What is signalled. Several writes may have one. */
  readonly eventfd: EventFd
}

/** What only the kernel's device has. Who needs it asks for it by `kernelOf`, which says so where there is none. */
export interface KernelDevice {
  /** The device's file, for the kernel's other interfaces. */
  readonly handle: NativeHandle
  readonly fd: number
  /** Its number in the iommufd that it is bound to; null for one that was opened by its group. */
  readonly iommufdId: number | null
  /** Whether it was opened by its group. */
  readonly hasGroup: boolean
  /** Takes the device, or one PASID of it, from what it was on to an IOAS (VFIO_DEVICE_ATTACH_IOMMUFD_PT). */
  attachIoas(ioas: NativeHandle, pasid: number | null): Promise<void>
  /** The same, to a hardware page table. */
  attachHwpt(hwpt: NativeHandle, pasid: number | null): Promise<void>
  detach(pasid: number | null): Promise<void>
  /** Makes a signal of `eventfd` a write of `data`, until the handle is released (VFIO_DEVICE_IOEVENTFD). */
  ioeventfd(info: RegionInfo, offset: number, width: number, data: bigint, eventfd: EventFd): NativeHandle
  /** The flags, and the bytes of each vfio_pci_dependent_device. */
  hotResetInfo(): { flags: number; devices: Uint8Array }
  /** @param owners devices by whose groups it is allowed; with none, what shares the device's iommufd is reset */
  hotReset(owners: readonly KernelDevice[]): Promise<void>
  hotResetSync(owners: readonly KernelDevice[]): void
  /** The bytes of vfio_device_gfx_plane_info. */
  queryPlane(flags: number, planeType: number): Uint8Array
  /** The dma-buf of a plane. */
  planeDmaBuf(id: number): NativeHandle
  /** A dma-buf of parts of a region. @param ranges offset, length pairs, flat */
  exportDmaBuf(region: number, ranges: readonly bigint[]): NativeHandle
}

/** What a device is made of. Each call throws VfioError with the errno of whoever refuses. */
export interface DeviceBackend {
  /** Whose it is: an entry of `deviceKinds`, by which another Worker's `claim()` puts the like behind its device. */
  readonly kind: string
  info(): DeviceInfo
  /** @throws VfioError EINVAL for an index without a region */
  regionInfo(index: number): RegionInfo
  /**
   * @param areas what of it to map, in whole pages; none where the region's flags do not offer it
   * @param memoryLike whether reads have no side effects, so that copies need not be accesses of a register's width
   */
  openRegion(info: RegionInfo, areas: readonly RegionArea[], memoryLike: boolean): RegionRegisters
  /** The doorbells that the device brings along, whose eventfds are the caller's; absent where it brings none. */
  doorbells?(index: number): readonly RegionDoorbell[]
  /** @throws VfioError EINVAL for an index without an interrupt */
  irqInfo(index: number): IrqInfo
  /**
   * VFIO_DEVICE_SET_IRQS; `action` is one of IRQ_ACTION, the data's kind follows from `data`. Count 0 without data turns the
   * index off.
   * @throws VfioError ENOSPC when the host has fewer vectors than that to spare: `available` of them
   */
  setIrqs(action: number, index: number, start: number, count: number, data: IrqData): void
  /** VFIO_DEVICE_FEATURE; the data comes back as the device's side left it. */
  feature(flags: number, data: Uint8Array): Uint8Array
  /** VFIO_DEVICE_RESET. */
  reset(): Promise<void>
  resetSync(): void
  /**
   * Sets the state of the device's migration, by its number (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE).
   * @returns the data of the session that this begins, null where it begins none
   */
  migrationSession(state: number): Promise<MigrationSession | null>
  /** Lets go of what it holds beside the device's native object; absent where there is nothing. */
  close?(): void
  /** Absent where the device keeps no log. */
  readonly dmaLog?: DmaLog
  readonly kernel?: KernelDevice
}

/** A device that was opened, adopted or claimed, and what is to stand behind the VfioDevice over it. */
export interface OpenedDevice {
  /** The object of the addon whose life is the device's: the last of its holders to let go ends the device. */
  readonly native: NativeHandle
  /** @param own gives the native object; throws once the device is closed */
  readonly backend: (own: () => NativeHandle) => DeviceBackend
}
