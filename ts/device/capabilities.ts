// Reads the capabilities behind vfio_device_info and vfio_region_info. Pure.
import type { ChainedCapability } from '../uapi/vfio/chain.js'

/** A capability that this version does not know: its bytes as the kernel gave them, behind the header. */
export interface UnknownCapability {
  readonly name: 'unknown'
  readonly id: number
  readonly version: number
  readonly bytes: Uint8Array
}

/** VFIO_DEVICE_INFO_CAP_ZPCI_BASE: a PCI function of IBM Z (Linux 5.10). */
export interface ZpciBase {
  readonly name: 'zpciBase'
  /** The DMA addresses that the function may use. */
  readonly startDma: bigint
  /** The last of them. */
  readonly endDma: bigint
  /** Physical channel. */
  readonly pchid: number
  /** Number of the virtual function. */
  readonly vfn: number
  /** Bytes of the measurement block. */
  readonly fmbLength: number
  /** PCI function type. */
  readonly pft: number
  /** PCI function group. */
  readonly gid: number
  /** Function handle; null in version 1 of the capability. */
  readonly fh: number | null
}

/** VFIO_DEVICE_INFO_CAP_ZPCI_GROUP: what the functions of a group share (Linux 5.10). */
export interface ZpciGroup {
  readonly name: 'zpciGroup'
  /** Mask of the DMA address space. */
  readonly dasm: bigint
  readonly msiAddress: bigint
  /** VFIO_DEVICE_INFO_ZPCI_FLAG_REFRESH: the guest says when translations are to be refreshed. */
  readonly refresh: boolean
  /** The flags as they are. */
  readonly flags: bigint
  /** Interval of measurement block updates. */
  readonly mui: number
  /** Most MSIs. */
  readonly noi: number
  /** Most bytes of a store block. */
  readonly maxStoreBlock: number
  /** Version of PCI. */
  readonly pciVersion: number
  /** Most bytes of an interpreted store block; null in version 1 of the capability. */
  readonly maxInterpretedStoreBlock: number | null
}

/** VFIO_DEVICE_INFO_CAP_ZPCI_UTIL: the utility string, in EBCDIC (Linux 5.10). */
export interface ZpciUtilityString {
  readonly name: 'zpciUtil'
  readonly bytes: Uint8Array
}

/** VFIO_DEVICE_INFO_CAP_ZPCI_PFIP: the internal hardware path of the function (Linux 5.10). */
export interface ZpciFunctionPath {
  readonly name: 'zpciPfip'
  readonly bytes: Uint8Array
}

/** VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: widths of the atomic operations the root complex completes (Linux 6.6). */
export interface PciAtomicCompletion {
  readonly name: 'pciAtomicCompletion'
  /** VFIO_PCI_ATOMIC_COMP32 */
  readonly comp32: boolean
  /** VFIO_PCI_ATOMIC_COMP64 */
  readonly comp64: boolean
  /** VFIO_PCI_ATOMIC_COMP128 */
  readonly comp128: boolean
}

export type DeviceCapability =
  ZpciBase | ZpciGroup | ZpciUtilityString | ZpciFunctionPath | PciAtomicCompletion | UnknownCapability

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

/** What a device-specific region is, by the kernel's name in this language's case. */
export type RegionKind =
  | 'intelIgdOpregion'
  | 'intelIgdHostCfg'
  | 'intelIgdLpcCfg'
  | 'nvidiaNvlink2Ram'
  | 'ibmNvlink2Atsd'
  | 'gfxEdid'
  | 'ccwAsyncCmd'
  | 'ccwSchib'
  | 'ccwCrw'
  | 'migrationDeprecated'

/** VFIO_REGION_INFO_CAP_TYPE: what a device-specific region is. */
export interface RegionType {
  readonly name: 'type'
  readonly type: number
  readonly subtype: number
  /** VFIO_REGION_TYPE_PCI_VENDOR_TYPE: `type` is of a PCI vendor's number space, and this is its id; null otherwise. */
  readonly vendor: number | null
  /** Null for what Linux 7.2 does not name. */
  readonly kind: RegionKind | null
}

/** VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: the MSI-X table may be mapped with the rest (Linux 4.16). */
export interface MsixMappable {
  readonly name: 'msixMappable'
}

/** VFIO_REGION_INFO_CAP_NVLINK2_SSATGT: where an NVLink2 bridge maps the memory of its GPU (Linux 4.20 to 5.12). */
export interface Nvlink2SsaTarget {
  readonly name: 'nvlink2SsaTarget'
  readonly target: bigint
}

/** VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD: the speed of an NVLink2 (Linux 4.20 to 5.12). */
export interface Nvlink2LinkSpeed {
  readonly name: 'nvlink2LinkSpeed'
  readonly speed: number
}

export type RegionCapability =
  SparseMmap | RegionType | MsixMappable | Nvlink2SsaTarget | Nvlink2LinkSpeed | UnknownCapability

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

/** How a capability is read, and the bytes of its fixed part, header included: one that is cut short is not. */
interface Reader<T> {
  readonly least: number
  read(capability: ChainedCapability): T
}

/** `size` bytes behind the field that says how many they are. */
function sizedBytes(data: DataView): Uint8Array {
  const size = Math.min(data.getUint32(8, true), data.byteLength - 12)
  return new Uint8Array(data.buffer, data.byteOffset + 12, size)
}

const DEVICE_CAPABILITIES: Readonly<Record<number, Reader<DeviceCapability>>> = {
  // VFIO_DEVICE_INFO_CAP_ZPCI_BASE
  1: {
    least: 32,
    read: ({ version, data }): ZpciBase => ({
      name: 'zpciBase',
      startDma: data.getBigUint64(8, true),
      endDma: data.getBigUint64(16, true),
      pchid: data.getUint16(24, true),
      vfn: data.getUint16(26, true),
      fmbLength: data.getUint16(28, true),
      pft: data.getUint8(30),
      gid: data.getUint8(31),
      fh: version >= 2 && data.byteLength >= 36 ? data.getUint32(32, true) : null,
    }),
  },
  // VFIO_DEVICE_INFO_CAP_ZPCI_GROUP
  2: {
    least: 39,
    read: ({ version, data }): ZpciGroup => {
      const flags = data.getBigUint64(24, true)
      return {
        name: 'zpciGroup',
        dasm: data.getBigUint64(8, true),
        msiAddress: data.getBigUint64(16, true),
        // VFIO_DEVICE_INFO_ZPCI_FLAG_REFRESH
        refresh: (flags & 1n) !== 0n,
        flags,
        mui: data.getUint16(32, true),
        noi: data.getUint16(34, true),
        maxStoreBlock: data.getUint16(36, true),
        pciVersion: data.getUint8(38),
        maxInterpretedStoreBlock: version >= 2 && data.byteLength >= 42 ? data.getUint16(40, true) : null,
      }
    },
  },
  // VFIO_DEVICE_INFO_CAP_ZPCI_UTIL
  3: { least: 12, read: ({ data }): ZpciUtilityString => ({ name: 'zpciUtil', bytes: sizedBytes(data) }) },
  // VFIO_DEVICE_INFO_CAP_ZPCI_PFIP
  4: { least: 12, read: ({ data }): ZpciFunctionPath => ({ name: 'zpciPfip', bytes: sizedBytes(data) }) },
  // VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP
  5: {
    least: 12,
    read: ({ data }): PciAtomicCompletion => {
      const flags = data.getUint32(8, true)
      return {
        name: 'pciAtomicCompletion',
        comp32: (flags & 1) !== 0, // VFIO_PCI_ATOMIC_COMP32
        comp64: (flags & 2) !== 0, // VFIO_PCI_ATOMIC_COMP64
        comp128: (flags & 4) !== 0, // VFIO_PCI_ATOMIC_COMP128
      }
    },
  },
}

// VFIO_REGION_TYPE_PCI_VENDOR_TYPE, VFIO_REGION_TYPE_PCI_VENDOR_MASK
const VENDOR_TYPE = 0x8000_0000
const VENDOR_MASK = 0xffff

const REGION_KINDS: readonly (readonly [type: number, subtype: number, kind: RegionKind])[] = [
  [VENDOR_TYPE + 0x8086, 1, 'intelIgdOpregion'], // VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION
  [VENDOR_TYPE + 0x8086, 2, 'intelIgdHostCfg'], // VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG
  [VENDOR_TYPE + 0x8086, 3, 'intelIgdLpcCfg'], // VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG
  [VENDOR_TYPE + 0x10de, 1, 'nvidiaNvlink2Ram'], // VFIO_REGION_SUBTYPE_NVIDIA_NVLINK2_RAM
  [VENDOR_TYPE + 0x1014, 1, 'ibmNvlink2Atsd'], // VFIO_REGION_SUBTYPE_IBM_NVLINK2_ATSD
  [1, 1, 'gfxEdid'], // VFIO_REGION_TYPE_GFX, VFIO_REGION_SUBTYPE_GFX_EDID
  [2, 1, 'ccwAsyncCmd'], // VFIO_REGION_TYPE_CCW, VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD
  [2, 2, 'ccwSchib'], // VFIO_REGION_SUBTYPE_CCW_SCHIB
  [2, 3, 'ccwCrw'], // VFIO_REGION_SUBTYPE_CCW_CRW
  [3, 1, 'migrationDeprecated'], // VFIO_REGION_TYPE_MIGRATION_DEPRECATED, VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED
]

const REGION_CAPABILITIES: Readonly<Record<number, Reader<RegionCapability>>> = {
  // VFIO_REGION_INFO_CAP_SPARSE_MMAP
  1: {
    least: 16,
    read: ({ data }): SparseMmap => {
      const count = Math.min(data.getUint32(8, true), Math.floor((data.byteLength - 16) / 16))
      const areas = Array.from({ length: count }, (_, i) => ({
        offset: Number(data.getBigUint64(16 + i * 16, true)),
        size: Number(data.getBigUint64(24 + i * 16, true)),
      }))
      return { name: 'sparseMmap', areas }
    },
  },
  // VFIO_REGION_INFO_CAP_TYPE
  2: {
    least: 16,
    read: ({ data }): RegionType => {
      const type = data.getUint32(8, true)
      const subtype = data.getUint32(12, true)
      const kind = REGION_KINDS.find((each) => each[0] === type && each[1] === subtype)?.[2] ?? null
      const vendor = (type & VENDOR_TYPE) !== 0 ? type & VENDOR_MASK : null
      return { name: 'type', type, subtype, vendor, kind }
    },
  },
  // VFIO_REGION_INFO_CAP_MSIX_MAPPABLE
  3: { least: 8, read: (): MsixMappable => ({ name: 'msixMappable' }) },
  // VFIO_REGION_INFO_CAP_NVLINK2_SSATGT
  4: {
    least: 16,
    read: ({ data }): Nvlink2SsaTarget => ({
      name: 'nvlink2SsaTarget',
      target: data.getBigUint64(8, true),
    }),
  },
  // VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD
  5: {
    least: 12,
    read: ({ data }): Nvlink2LinkSpeed => ({ name: 'nvlink2LinkSpeed', speed: data.getUint32(8, true) }),
  },
}

function decode<T>(
  readers: Readonly<Record<number, Reader<T>>>,
  capability: ChainedCapability,
): T | UnknownCapability {
  const reader = readers[capability.id]
  if (reader === undefined || capability.data.byteLength < reader.least) return unknown(capability)
  return reader.read(capability)
}

export function decodeDeviceCapability(capability: ChainedCapability): DeviceCapability {
  return decode(DEVICE_CAPABILITIES, capability)
}

export function decodeRegionCapability(capability: ChainedCapability): RegionCapability {
  return decode(REGION_CAPABILITIES, capability)
}
