// Reads the bytes of vfio_device_info, vfio_region_info and vfio_irq_info, capabilities included. Pure.
import { type ChainedCapability, capabilityChain } from '../iommu/type1-info.js'

export type DeviceBus = 'pci' | 'platform' | 'amba' | 'ccw' | 'ap' | 'fsl-mc' | 'cdx' | 'other'

/** A capability that this version does not know: its bytes as the kernel gave them, behind the header. */
export interface UnknownCapability {
  readonly name: 'unknown'
  readonly id: number
  readonly version: number
  readonly bytes: Uint8Array
}

/** VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: widths of the atomic operations the root complex completes (Linux 6.6). */
export interface PciAtomicCompletion {
  readonly name: 'pciAtomicCompletion'
  readonly comp32: boolean
  readonly comp64: boolean
  readonly comp128: boolean
}

export type DeviceCapability = PciAtomicCompletion | UnknownCapability

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

export interface RegionArea {
  /** Bytes from the region's start. */
  readonly offset: number
  /** Bytes. */
  readonly size: number
}

/** VFIO_REGION_INFO_CAP_SPARSE_MMAP: only these areas may be mapped. */
export interface SparseMmap {
  readonly name: 'sparseMmap'
  readonly areas: readonly RegionArea[]
}

/** VFIO_REGION_INFO_CAP_TYPE: what a device-specific region is. */
export interface RegionType {
  readonly name: 'type'
  readonly type: number
  readonly subtype: number
  /** Set when `type` is a PCI vendor's number space: the vendor id. */
  readonly vendor: number | null
}

/** VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: the MSI-X table may be mapped with the rest (Linux 4.16). */
export interface MsixMappable {
  readonly name: 'msixMappable'
}

export type RegionCapability = SparseMmap | RegionType | MsixMappable | UnknownCapability

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

const DEVICE_FLAG = { reset: 1, caps: 1 << 7 }
const BUSES: readonly (readonly [number, DeviceBus])[] = [
  [1 << 1, 'pci'],
  [1 << 2, 'platform'],
  [1 << 3, 'amba'],
  [1 << 4, 'ccw'],
  [1 << 5, 'ap'],
  [1 << 6, 'fsl-mc'],
  [1 << 8, 'cdx'],
]
const CAP_PCI_ATOMIC_COMP = 5

const REGION_FLAG = { read: 1, write: 2, mmap: 4, caps: 8 }
const CAP_SPARSE_MMAP = 1
const CAP_TYPE = 2
const CAP_MSIX_MAPPABLE = 3
const VENDOR_TYPE = 0x8000_0000

const IRQ_FLAG = { eventfd: 1, maskable: 2, automasked: 4, noresize: 8 }

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function unknown({ id, version, data }: ChainedCapability): UnknownCapability {
  const end = data.getUint32(4, true)
  // The next capability's offset counts from the structure, so a capability's own length is only known as "the rest".
  return {
    name: 'unknown',
    id,
    version,
    bytes: new Uint8Array(
      data.buffer,
      data.byteOffset + 8,
      Math.max(0, data.byteLength - 8 - (end > 0 ? 8 : 0)),
    ),
  }
}

function deviceCapability(capability: ChainedCapability): DeviceCapability {
  if (capability.id !== CAP_PCI_ATOMIC_COMP || capability.data.byteLength < 12) return unknown(capability)
  const flags = capability.data.getUint32(8, true)
  return {
    name: 'pciAtomicCompletion',
    comp32: (flags & 1) !== 0,
    comp64: (flags & 2) !== 0,
    comp128: (flags & 4) !== 0,
  }
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
    capabilities: capabilityChain(bytes, first).map(deviceCapability),
  }
}

function regionCapability(capability: ChainedCapability): RegionCapability {
  const { id, data } = capability
  // Cut short: the fixed part of the two that have one is 16 bytes.
  if (id !== CAP_MSIX_MAPPABLE && data.byteLength < 16) return unknown(capability)
  switch (id) {
    case CAP_SPARSE_MMAP: {
      const count = Math.min(data.getUint32(8, true), Math.floor((data.byteLength - 16) / 16))
      const areas = Array.from({ length: count }, (_, i) => ({
        offset: Number(data.getBigUint64(16 + i * 16, true)),
        size: Number(data.getBigUint64(24 + i * 16, true)),
      }))
      return { name: 'sparseMmap', areas }
    }
    case CAP_TYPE: {
      const type = data.getUint32(8, true)
      const vendor = (type & VENDOR_TYPE) !== 0 ? type & 0xffff : null
      return { name: 'type', type, subtype: data.getUint32(12, true), vendor }
    }
    case CAP_MSIX_MAPPABLE:
      return { name: 'msixMappable' }
    default:
      return unknown(capability)
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
    capabilities: capabilityChain(bytes, first).map(regionCapability),
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
