// Reads the bytes of vfio_device_info, vfio_region_info and vfio_irq_info, capabilities included. Pure.
import { capabilityChain } from '../uapi/vfio/chain.js'
import {
  type DeviceCapability,
  type RegionCapability,
  decodeDeviceCapability,
  decodeRegionCapability,
} from './capabilities.js'

export type * from './capabilities.js'

export type DeviceBus = 'pci' | 'platform' | 'amba' | 'ccw' | 'ap' | 'fsl-mc' | 'cdx' | 'other'

/** VFIO_DEVICE_GET_INFO. */
export interface DeviceInfo {
  readonly flags: number
  readonly bus: DeviceBus
  /** VFIO_DEVICE_RESET works. */
  readonly resettable: boolean
  readonly numRegions: number
  readonly numIrqs: number
  readonly capabilities: readonly DeviceCapability[]
}

/** VFIO_DEVICE_GET_REGION_INFO. */
export interface RegionInfo {
  readonly index: number
  readonly flags: {
    readonly read: boolean
    readonly write: boolean
    readonly mmap: boolean
    readonly raw: number
  }
  /** Bytes; 0 when the device has no such region. */
  readonly size: number
  /** Where the region begins in the device's file. */
  readonly fileOffset: number
  readonly capabilities: readonly RegionCapability[]
}

/** VFIO_DEVICE_GET_IRQ_INFO. */
export interface IrqInfo {
  readonly index: number
  /** Vectors. */
  readonly count: number
  readonly flags: {
    readonly eventfd: boolean
    readonly maskable: boolean
    /** Masked by the kernel when it fires, until unmasked. */
    readonly automasked: boolean
    /** The set of vectors cannot grow while enabled. */
    readonly noresize: boolean
    readonly raw: number
  }
}

const DEVICE_FLAG = {
  reset: 1, // VFIO_DEVICE_FLAGS_RESET
  caps: 1 << 7, // VFIO_DEVICE_FLAGS_CAPS
}
const BUSES: readonly (readonly [number, DeviceBus])[] = [
  [1 << 1, 'pci'], // VFIO_DEVICE_FLAGS_PCI
  [1 << 2, 'platform'], // VFIO_DEVICE_FLAGS_PLATFORM
  [1 << 3, 'amba'], // VFIO_DEVICE_FLAGS_AMBA
  [1 << 4, 'ccw'], // VFIO_DEVICE_FLAGS_CCW
  [1 << 5, 'ap'], // VFIO_DEVICE_FLAGS_AP
  [1 << 6, 'fsl-mc'], // VFIO_DEVICE_FLAGS_FSL_MC
  [1 << 8, 'cdx'], // VFIO_DEVICE_FLAGS_CDX
]

const REGION_FLAG = {
  read: 1, // VFIO_REGION_INFO_FLAG_READ
  write: 2, // VFIO_REGION_INFO_FLAG_WRITE
  mmap: 4, // VFIO_REGION_INFO_FLAG_MMAP
  caps: 8, // VFIO_REGION_INFO_FLAG_CAPS
}

const IRQ_FLAG = {
  eventfd: 1, // VFIO_IRQ_INFO_EVENTFD
  maskable: 2, // VFIO_IRQ_INFO_MASKABLE
  automasked: 4, // VFIO_IRQ_INFO_AUTOMASKED
  noresize: 8, // VFIO_IRQ_INFO_NORESIZE
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function decodeDeviceInfo(bytes: Uint8Array): DeviceInfo {
  const view = viewOf(bytes)
  const flags = view.getUint32(4, true)
  const first = flags & DEVICE_FLAG.caps ? view.getUint32(16, true) : 0
  return {
    flags,
    bus: BUSES.find(([flag]) => (flags & flag) !== 0)?.[1] ?? 'other',
    resettable: (flags & DEVICE_FLAG.reset) !== 0,
    numRegions: view.getUint32(8, true),
    numIrqs: view.getUint32(12, true),
    capabilities: capabilityChain(bytes, first).map(decodeDeviceCapability),
  }
}

export function decodeRegionInfo(bytes: Uint8Array): RegionInfo {
  const view = viewOf(bytes)
  const raw = view.getUint32(4, true)
  const first = raw & REGION_FLAG.caps ? view.getUint32(12, true) : 0
  return {
    index: view.getUint32(8, true),
    flags: {
      read: (raw & REGION_FLAG.read) !== 0,
      write: (raw & REGION_FLAG.write) !== 0,
      mmap: (raw & REGION_FLAG.mmap) !== 0,
      raw,
    },
    size: Number(view.getBigUint64(16, true)),
    fileOffset: Number(view.getBigUint64(24, true)),
    capabilities: capabilityChain(bytes, first).map(decodeRegionCapability),
  }
}

export function decodeIrqInfo(bytes: Uint8Array): IrqInfo {
  const view = viewOf(bytes)
  const raw = view.getUint32(4, true)
  return {
    index: view.getUint32(8, true),
    count: view.getUint32(12, true),
    flags: {
      eventfd: (raw & IRQ_FLAG.eventfd) !== 0,
      maskable: (raw & IRQ_FLAG.maskable) !== 0,
      automasked: (raw & IRQ_FLAG.automasked) !== 0,
      noresize: (raw & IRQ_FLAG.noresize) !== 0,
      raw,
    },
  }
}
