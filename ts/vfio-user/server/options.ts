// What the author of a device says about it: the types of UserDevice's options. Types only; who checks and keeps them is beside it.
import type { PciIrqName, PciRegionName } from '../../device/names.js'
import type { GuestMemory } from '../../memory/guest-memory.js'
import type { RegionArea } from '../../uapi/vfio/device-info.js'

/** The regions that a device may have beside its configuration space. */
export type UserRegionName = Exclude<PciRegionName, 'config' | 'vga'>

/** The interrupts of a device: `err` says that it is broken, which stops a guest of QEMU; `req` asks for it back. */
export type UserIrqName = PciIrqName

/** The bytes of one access. Those of 8 go to the handlers for 64 bits, or come as two of 4, the lower first. */
export type AccessWidth = 1 | 2 | 4

/** What a handler answers: a bigint, a negative number or a larger one counts modulo the width. */
export type RegisterValue = number | bigint

type Later<T> = T | Promise<T>

/** Called for each aligned access to a region. A promise holds back the answer, and what the client sent after it. */
export type ReadHandler = (region: UserRegionName, offset: number, width: AccessWidth) => Later<RegisterValue>
export type WriteHandler = (
  region: UserRegionName,
  offset: number,
  width: AccessWidth,
  value: number,
) => Later<unknown>
export type Read64Handler = (region: UserRegionName, offset: number) => Later<RegisterValue>
export type Write64Handler = (region: UserRegionName, offset: number, value: bigint) => Later<unknown>

/** Who a device is: the first registers of its configuration space. */
export interface PciIdentity {
  /** 0 to 0xffff. */
  readonly vendorId: number
  /** 0 to 0xffff. */
  readonly deviceId: number
  /** Base class, subclass and programming interface: 24 bits, 0x030000 for a VGA controller for example. */
  readonly classCode: number
  /** 0 to 0xff (default 0). */
  readonly revision?: number
  /** Default: the vendor's id. */
  readonly subsystemVendorId?: number
  /** Default: the device's id. */
  readonly subsystemId?: number
}

/**
 * A write that signals. A client that asks for it (this package's; neither QEMU nor cloud-hypervisor does) has its kernel signal
 * an eventfd; from others the write comes as a message. `onRing` is called either way, and no other handler.
 */
export interface Doorbell {
  /** Bytes from the region's start, a multiple of the width. */
  readonly offset: number
  /** Bytes of the write: 1, 2, 4 or 8; 0 (the default) for a write of any width. */
  readonly width?: 0 | 1 | 2 | 4 | 8
  /** The value that is to be written (default: any). */
  readonly match?: number | bigint
  /** @param count how often it was written to since the last call */
  readonly onRing: (count: number) => unknown
}

/** A region. Without memory and without `plain`, every access is a call of a handler. */
export interface UserRegionOptions {
  /** Bytes; for a BAR a power of two, at least 16 (4 for ports). */
  readonly size: number
  /** A BAR in I/O space, at most 256 bytes. */
  readonly io?: boolean
  /** Reading has no effects and writes may be joined (memory only). */
  readonly prefetchable?: boolean
  /** The BAR takes up the next number too (default: where it is above 2 GiB). */
  readonly is64Bit?: boolean
  /** Memory behind the region: accesses go there without a handler, except those outside of `mmapAreas` where there are handlers. */
  readonly memory?: GuestMemory
  /** Where in the memory the region begins, in whole pages (default 0). */
  readonly memoryOffset?: number
  /**
   * What of the memory the client may map, in whole pages; it gets the memory's descriptor. Default: all of it. With an empty
   * list nothing is mapped, and every access is a message. A device with anything to map has QEMU wait for each of its writes.
   */
  readonly mmapAreas?: readonly RegionArea[]
  /** What is written is read back, without a handler; bytes are the first contents, shared with the caller. */
  readonly plain?: boolean | Uint8Array
  readonly doorbells?: readonly Doorbell[]
  /** Handlers of this region, in place of the device's. */
  readonly read?: (offset: number, width: AccessWidth) => Later<RegisterValue>
  readonly write?: (offset: number, width: AccessWidth, value: number) => Later<unknown>
  /** Accesses of 8 bytes (default: two of 4). */
  readonly read64?: (offset: number) => Later<RegisterValue>
  readonly write64?: (offset: number, value: bigint) => Later<unknown>
}

/** Where an MSI-X table lies in a region that is the author's. */
export interface MsixOptions {
  /** 1 to 2048. */
  readonly vectors: number
  readonly region: UserRegionName
  /** Bytes from the region's start, multiples of 8. */
  readonly table: number
  readonly pba: number
}

export interface UserIrqOptions {
  /** A pin, INTA#. */
  readonly intx?: boolean
  /** How many MSI vectors: 1, 2, 4, 8, 16 or 32. */
  readonly msi?: number
  /** How many MSI-X vectors, 1 to 2048: the table gets the first BAR that is free; or where it lies. */
  readonly msix?: number | MsixOptions
}

/** A capability of configuration space. */
export interface UserCapability {
  /** Its id, `PCI_CAP_ID_*`, 1 to 0xff. */
  readonly id: number
  /** What follows the id and the pointer to the next one. */
  readonly bytes: Uint8Array
  /** Which bits of `bytes` can be written (default: none). */
  readonly writable?: Uint8Array
  /** Where it is to be, a multiple of 4 from 0x40 (default: behind the one before). */
  readonly offset?: number
  /**
   * Called before bytes of it are read: what it returns are the bytes from `offset` on; undefined leaves them as they are. Offsets
   * count from the capability's start.
   */
  readonly onRead?: (offset: number, width: number) => RegisterValue | undefined
  /** Called after bytes of it were written. */
  readonly onWrite?: (offset: number, width: number, value: number) => unknown
}

/** A capability of the extended configuration space, which a device with one of them has. */
export interface UserExtendedCapability {
  /** `PCI_EXT_CAP_ID_*`, 1 to 0xffff. */
  readonly id: number
  /** 1 to 15 (default 1). */
  readonly version?: number
  /** What follows the header of 4 bytes. */
  readonly bytes: Uint8Array
  readonly writable?: Uint8Array
}

/** How a device's state moves to another of its kind: the states of the kernel's VFIO migration. */
export interface UserMigration {
  /** The device is to do nothing any more: no DMA, no interrupts, its state does not change. */
  readonly stop?: () => Later<unknown>
  /** It goes on. */
  readonly run?: () => Later<unknown>
  /** Its state while it is stopped: all that `preCopy` did not give. Configuration space goes along by itself. */
  readonly save: () => Later<Uint8Array>
  /** A state that another device saved, while it is stopped. An error puts the device in its error state. */
  readonly load: (state: Uint8Array, preCopied: Uint8Array | null) => Later<unknown>
  /** What of its state can be taken while it runs. */
  readonly preCopy?: () => Later<Uint8Array>
}

/** What a device does when a client does something to it as a whole. */
export interface UserDeviceHandlers {
  readonly onRead?: ReadHandler
  readonly onWrite?: WriteHandler
  readonly onRead64?: Read64Handler
  readonly onWrite64?: Write64Handler
  /** The device is reset; its configuration space and interrupts are already. */
  readonly onReset?: () => Later<unknown>
  /** A client has connected and agreed on a version. */
  readonly onConnect?: () => unknown
  /** The client is gone. What the device is in stays; the client's memory and eventfds are gone. */
  readonly onDisconnect?: () => unknown
  /** The client has shown or taken away memory: `device.dma.ranges`. */
  readonly onMemory?: () => unknown
  /** The client has written the command register, or changed which interrupts it takes. */
  readonly onCommand?: () => unknown
}

/** What a UserDevice is made of. */
export interface UserDeviceOptions extends UserDeviceHandlers {
  /** What errors call it. */
  readonly name: string
  readonly pci: PciIdentity
  readonly regions?: Partial<Readonly<Record<UserRegionName, UserRegionOptions>>>
  readonly irqs?: UserIrqOptions
  readonly capabilities?: readonly UserCapability[]
  readonly extendedCapabilities?: readonly UserExtendedCapability[]
  readonly migration?: UserMigration
}
