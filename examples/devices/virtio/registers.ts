// The registers of virtio over PCI (virtio 1.2, section 4.1): where they are, and the capabilities that say so. Numbers and bytes
// only.

/** The one BAR: a page for each kind of register, so that a client could map or trap each by itself. */
export const BAR_BYTES = 0x4000
export const AREA = {
  common: { at: 0x0000, bytes: 0x40 },
  isr: { at: 0x1000, bytes: 4 },
  device: { at: 0x2000, bytes: 0x1000 },
  notify: { at: 0x3000, bytes: 0x1000 },
} as const

/** Bytes between the doorbells of two queues. */
export const NOTIFY_STEP = 4

/** struct virtio_pci_common_cfg. */
export const COMMON = {
  deviceFeatureSelect: 0,
  deviceFeature: 4,
  driverFeatureSelect: 8,
  driverFeature: 12,
  configVector: 16,
  queueCount: 18,
  status: 20,
  generation: 21,
  queueSelect: 22,
  queueSize: 24,
  queueVector: 26,
  queueEnable: 28,
  queueNotifyOffset: 30,
  queueDescriptors: 32,
  queueAvailable: 40,
  queueUsed: 48,
} as const

export const STATUS = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const

export const FEATURE = { indirectDescriptors: 1n << 28n, version1: 1n << 32n } as const

/** Bits of the ISR: a queue was used; the device's configuration changed. */
export const ISR = { queue: 1, config: 2 } as const

export const NO_VECTOR = 0xffff

const CAP_VENDOR = 0x09
const KIND = { common: 1, notify: 2, isr: 3, device: 4 } as const
/** Bytes of struct virtio_pci_cap; that of the doorbells has their distance besides. */
const CAP_BYTES = 16
const NOTIFY_CAP_BYTES = 20

/** The capabilities that tell a driver where the registers are: struct virtio_pci_cap, from its length on. */
export function virtioCapabilities(): { id: number; bytes: Uint8Array }[] {
  return (['common', 'notify', 'isr', 'device'] as const).map((name) => {
    const length = name === 'notify' ? NOTIFY_CAP_BYTES : CAP_BYTES
    const bytes = new Uint8Array(length - 2)
    const view = new DataView(bytes.buffer)
    bytes[0] = length
    bytes[1] = KIND[name]
    view.setUint32(6, AREA[name].at, true)
    view.setUint32(10, AREA[name].bytes, true)
    if (name === 'notify') view.setUint32(14, NOTIFY_STEP, true)
    return { id: CAP_VENDOR, bytes }
  })
}
