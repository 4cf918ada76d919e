// The numbers of the vfio-user protocol: commands, flags and limits. Numbers only; what the bytes mean, the files beside it say.

/** The commands. 14 was one for dirty pages, and is gone. */
export const COMMAND = {
  version: 1,
  dmaMap: 2,
  dmaUnmap: 3,
  deviceGetInfo: 4,
  deviceGetRegionInfo: 5,
  deviceGetRegionIoFds: 6,
  deviceGetIrqInfo: 7,
  deviceSetIrqs: 8,
  regionRead: 9,
  regionWrite: 10,
  dmaRead: 11,
  dmaWrite: 12,
  deviceReset: 13,
  regionWriteMulti: 15,
  deviceFeature: 16,
  migDataRead: 17,
  migDataWrite: 18,
} as const

/** What errors call a command: the protocol's name of it. */
export const COMMAND_NAMES: readonly (string | undefined)[] = [
  undefined,
  'VFIO_USER_VERSION',
  'VFIO_USER_DMA_MAP',
  'VFIO_USER_DMA_UNMAP',
  'VFIO_USER_DEVICE_GET_INFO',
  'VFIO_USER_DEVICE_GET_REGION_INFO',
  'VFIO_USER_DEVICE_GET_REGION_IO_FDS',
  'VFIO_USER_DEVICE_GET_IRQ_INFO',
  'VFIO_USER_DEVICE_SET_IRQS',
  'VFIO_USER_REGION_READ',
  'VFIO_USER_REGION_WRITE',
  'VFIO_USER_DMA_READ',
  'VFIO_USER_DMA_WRITE',
  'VFIO_USER_DEVICE_RESET',
  undefined,
  'VFIO_USER_REGION_WRITE_MULTI',
  'VFIO_USER_DEVICE_FEATURE',
  'VFIO_USER_MIG_DATA_READ',
  'VFIO_USER_MIG_DATA_WRITE',
]

export function commandName(command: number): string {
  return COMMAND_NAMES[command] ?? `vfio-user command ${String(command)}`
}

/** The version that is spoken here. Whoever answers less is not asked for features, nor for descriptors of doorbells. */
export const VERSION = { major: 0, minor: 2 } as const

/** Bytes of a message's header, and where in it the message's whole length is. */
export const HEADER_BYTES = 16
export const LENGTH_OFFSET = 4

/** The most data that one message carries here, whatever was negotiated: what every implementation takes by default. */
export const MOST_DATA = 1 << 20
/** The longest message: the data, and the longest header of any message that carries some. */
export const MOST_MESSAGE = MOST_DATA + 64
/** The longest text of a VERSION message that is looked at. */
export const MOST_VERSION_TEXT = 16 << 10
/** The most descriptors that one message is sent with. */
export const MOST_FDS = 16
/** One write of REGION_WRITE_MULTI carries so much. */
export const MULTI_WRITE_BYTES = 24
/** The most vectors of an interrupt: what an MSI-X table can have. */
export const MOST_VECTORS = 2048
/**
 * Replies to DMA_READ above the sender's socket buffer (208 KiB by default) are cut short by QEMU, and its stream is out of step
 * from there on.
 */
export const MOST_DMA_READ = 128 << 10

/**
 * The bytes of a reply that are always there, where these are more than the header. The Rust crate's client, and so
 * cloud-hypervisor, waits for all of them without looking whether the reply is an error: by a shorter one it hangs for ever.
 */
export const REPLY_BYTES: Readonly<Partial<Record<number, number>>> = {
  [COMMAND.dmaUnmap]: 40,
  [COMMAND.deviceGetInfo]: 32,
  [COMMAND.deviceGetRegionInfo]: 48,
  [COMMAND.deviceGetIrqInfo]: 32,
  [COMMAND.regionRead]: 32,
  [COMMAND.regionWrite]: 32,
}

/** Framing, for the transport. */
export const FRAMING = {
  lengthOffset: LENGTH_OFFSET,
  headerBytes: HEADER_BYTES,
  maxMessage: MOST_MESSAGE,
} as const

/** DMA_MAP: what the device may do there. */
export const DMA_FLAG = { read: 1, write: 2 } as const
/** DMA_UNMAP, as the kernel numbers them: VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, VFIO_DMA_UNMAP_FLAG_ALL. */
export const UNMAP_FLAG = { dirtyBitmap: 1, all: 2 } as const
/** VFIO_DEVICE_FLAGS_RESET, VFIO_DEVICE_FLAGS_PCI */
export const DEVICE_FLAG = { reset: 1, pci: 2 } as const
/** VFIO_REGION_INFO_FLAG_READ, and so on. */
export const REGION_FLAG = { read: 1, write: 2, mmap: 4, caps: 8 } as const
/** VFIO_IRQ_INFO_EVENTFD, and so on. */
export const IRQ_FLAG = { eventfd: 1, maskable: 2, automasked: 4, noresize: 8 } as const
/** VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_BOOL, VFIO_IRQ_SET_DATA_EVENTFD */
export const IRQ_DATA = { none: 1, bool: 2, eventfd: 4, mask: 7 } as const
/** VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_ACTION_TRIGGER */
export const IRQ_ACTION = { mask: 8, unmask: 16, trigger: 32, all: 56 } as const
/** Entries of IO_FDS: an ioeventfd, an ioregionfd, and libvfio-user's shadow ioeventfd, which needs a patched kernel. */
export const IO_FD_TYPE = { ioeventfd: 0, ioregionfd: 1, shadow: 2 } as const
export const IO_FD_FLAG = { datamatch: 1, pio: 2 } as const
