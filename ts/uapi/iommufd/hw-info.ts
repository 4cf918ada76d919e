// What the driver of an IOMMU says that it can do (IOMMU_GET_HW_INFO), typed.
import { MAX_U64, bigint } from '../../validate.js'

const KINDS = {
  0: 'none', // IOMMU_HW_INFO_TYPE_NONE
  1: 'intel-vtd', // IOMMU_HW_INFO_TYPE_INTEL_VTD
  2: 'arm-smmuv3', // IOMMU_HW_INFO_TYPE_ARM_SMMUV3
  3: 'tegra241-cmdqv', // IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV
  4: 'amd', // IOMMU_HW_INFO_TYPE_AMD
} as const

/** The IOMMU's make; null for one that came after Linux 7.2. */
export type IommuKind = (typeof KINDS)[keyof typeof KINDS] | null

/** Registers of Intel's VT-d (struct iommu_hw_info_vtd). */
export interface VtdInfo {
  /** CAP_REG: widths, page sizes, domains. */
  readonly capabilities: bigint
  /** ECAP_REG: snoop control, nested translation, PASIDs. */
  readonly extendedCapabilities: bigint
  /**
   * Read-only mappings of a nesting parent are not kept read-only (erratum 772415 of Sapphire Rapids,
   * IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17): map such memory for reading and writing, or not at all.
   */
  readonly erratum772415: boolean
}

export interface HwInfo {
  readonly kind: IommuKind
  /** The kind's number, IOMMU_HW_INFO_TYPE_*. */
  readonly type: number
  /** What the driver says, as it says it; its structure is that of `type`. */
  readonly data: Uint8Array
  /** The data, where `kind` is `intel-vtd`. */
  readonly vtd: VtdInfo | null
  /** The PASIDs that a device may use, as a power of two; 0 for none. */
  readonly maxPasidLog2: number
  readonly capabilities: {
    /** IOMMU_HW_CAP_DIRTY_TRACKING */
    readonly dirtyTracking: boolean
    /** IOMMU_HW_CAP_PCI_PASID_EXEC */
    readonly pasidExecute: boolean
    /** IOMMU_HW_CAP_PCI_PASID_PRIV */
    readonly pasidPrivileged: boolean
    /** IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED */
    readonly atsNotSupported: boolean
    readonly raw: bigint
  }
}

const VTD_SIZE = 24
const VTD_ERRATUM_772415 = 1 // IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17

/** The data of VT-d; null where it is shorter than its structure. */
export function decodeVtd(data: Uint8Array): VtdInfo | null {
  if (data.length < VTD_SIZE) return null
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  return {
    capabilities: view.getBigUint64(8, true),
    extendedCapabilities: view.getBigUint64(16, true),
    erratum772415: (view.getUint32(0, true) & VTD_ERRATUM_772415) !== 0,
  }
}

/** What the kernel gives. */
export interface RawHwInfo {
  readonly type: number
  readonly maxPasidLog2: number
  readonly capabilities: bigint
  readonly data: Uint8Array
}

export function decodeHwInfo({ type, maxPasidLog2, capabilities, data }: RawHwInfo): HwInfo {
  const raw = bigint(capabilities, 'capabilities', 0n, MAX_U64)
  const has = (bit: bigint): boolean => (raw & bit) !== 0n
  const kind = (KINDS as Record<number, IommuKind>)[type] ?? null
  return {
    kind,
    type,
    data,
    vtd: kind === 'intel-vtd' ? decodeVtd(data) : null,
    maxPasidLog2,
    capabilities: {
      dirtyTracking: has(1n), // IOMMU_HW_CAP_DIRTY_TRACKING
      pasidExecute: has(2n), // IOMMU_HW_CAP_PCI_PASID_EXEC
      pasidPrivileged: has(4n), // IOMMU_HW_CAP_PCI_PASID_PRIV
      atsNotSupported: has(8n), // IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED
      raw,
    },
  }
}
