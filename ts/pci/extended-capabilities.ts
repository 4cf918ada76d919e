// Decodes the capabilities of the extended list (offsets 0x100-0xfff). It must not know how a capability was
// found, and it changes nothing on the device.

import { type PciBar, readBars } from './bars.js'
import type { ExtendedCapabilityHeader } from './capability-header.js'
import { EXTENDED_CAPABILITY_NAMES, type ExtendedCapabilityName } from './capability-names.js'
import type { CapabilityReader } from './capability-reader.js'
import * as regs from './registers.js'

/** Advanced Error Reporting (`PCI_EXT_CAP_ID_ERR`); the masks and status words are as read. */
export interface ErrCapability extends ExtendedCapabilityHeader {
  readonly name: 'err'
  readonly uncorrectableStatus: number
  readonly uncorrectableMask: number
  readonly uncorrectableSeverity: number
  readonly correctableStatus: number
  readonly correctableMask: number
  /** Bit number in `uncorrectableStatus` of the error that came first. */
  readonly firstErrorPointer: number
}

/** Device Serial Number (`PCI_EXT_CAP_ID_DSN`). */
export interface DsnCapability extends ExtendedCapabilityHeader {
  readonly name: 'dsn'
  /** EUI-64. */
  readonly serialNumber: bigint
}

/** Vendor Specific (`PCI_EXT_CAP_ID_VNDR`). */
export interface ExtendedVndrCapability extends ExtendedCapabilityHeader {
  readonly name: 'vndr'
  /** Meaning of the contents, chosen by the device's vendor. */
  readonly vsecId: number
  readonly vsecRevision: number
  /** Bytes in the capability, header included. */
  readonly length: number
}

/** Designated Vendor-Specific (`PCI_EXT_CAP_ID_DVSEC`), such as CXL's. */
export interface DvsecCapability extends ExtendedCapabilityHeader {
  readonly name: 'dvsec'
  /** Who defines the contents. */
  readonly vendorId: number
  readonly dvsecId: number
  readonly dvsecRevision: number
  /** Bytes in the capability, header included. */
  readonly length: number
}

/** The access controls that decide whether a function is isolated from its peers. */
export interface AcsControls {
  readonly sourceValidation: boolean
  readonly translationBlocking: boolean
  readonly requestRedirect: boolean
  readonly completionRedirect: boolean
  readonly upstreamForwarding: boolean
  readonly egressControl: boolean
  readonly directTranslated: boolean
}

/** Access Control Services (`PCI_EXT_CAP_ID_ACS`). */
export interface AcsCapability extends ExtendedCapabilityHeader {
  readonly name: 'acs'
  readonly supported: AcsControls
  readonly enabled: AcsControls
}

/** Alternative Routing-ID Interpretation (`PCI_EXT_CAP_ID_ARI`). */
export interface AriCapability extends ExtendedCapabilityHeader {
  readonly name: 'ari'
  /** Next higher function of the device, 0 at the last. */
  readonly nextFunction: number
  readonly mfvcFunctionGroups: boolean
  readonly acsFunctionGroups: boolean
}

/** Address Translation Services (`PCI_EXT_CAP_ID_ATS`). */
export interface AtsCapability extends ExtendedCapabilityHeader {
  readonly name: 'ats'
  readonly enabled: boolean
  /** Invalidation requests that the device takes before it throttles, 1-32. */
  readonly invalidateQueueDepth: number
  readonly pageAlignedRequest: boolean
  /** Bytes in the smallest unit that the device may ask to translate, at least 4096. */
  readonly smallestTranslationUnit: number
}

/** Page Request Interface (`PCI_EXT_CAP_ID_PRI`). */
export interface PriCapability extends ExtendedCapabilityHeader {
  readonly name: 'pri'
  readonly enabled: boolean
  readonly responseFailure: boolean
  readonly unexpectedPageRequestGroup: boolean
  readonly stopped: boolean
  readonly pasidRequired: boolean
  /** Page requests that the device can have outstanding. */
  readonly maxRequests: number
  /** Page requests that it may have outstanding. */
  readonly allocatedRequests: number
}

/** Process Address Space ID (`PCI_EXT_CAP_ID_PASID`). */
export interface PasidCapability extends ExtendedCapabilityHeader {
  readonly name: 'pasid'
  readonly enabled: boolean
  readonly executePermission: boolean
  readonly privilegedMode: boolean
  /** Width of a PASID in bits, 1-20. */
  readonly width: number
}

/** Single Root I/O Virtualization (`PCI_EXT_CAP_ID_SRIOV`). */
export interface SriovCapability extends ExtendedCapabilityHeader {
  readonly name: 'sriov'
  readonly vfEnable: boolean
  readonly vfMemorySpaceEnable: boolean
  /** Whether virtual functions take the function numbers that only ARI has (`PCI_SRIOV_CTRL_ARI`). */
  readonly ariCapableHierarchy: boolean
  readonly vfMigrationCapable: boolean
  readonly initialVfs: number
  readonly totalVfs: number
  readonly numVfs: number
  readonly functionDependencyLink: number
  /** Routing ID of the first virtual function, counted from the physical function's. */
  readonly vfOffset: number
  /** Distance between the routing IDs of two virtual functions. */
  readonly vfStride: number
  readonly vfDeviceId: number
  /** Page sizes to which the VF BARs can be aligned, in bytes, ascending. */
  readonly supportedPageSizes: readonly number[]
  /** The one in use, in bytes; null if no bit or several are set. */
  readonly systemPageSize: number | null
  readonly vfBars: readonly PciBar[]
}

/** Resizable BAR (`PCI_EXT_CAP_ID_REBAR`). */
export interface RebarCapability extends ExtendedCapabilityHeader {
  readonly name: 'rebar'
  readonly bars: readonly {
    /** Number of the BAR, 0-5. */
    readonly bar: number
    /** Sizes it can have, in bytes, ascending. */
    readonly supportedSizes: readonly bigint[]
    /** The size it has, in bytes. */
    readonly size: bigint
  }[]
}

type Decoded =
  | ErrCapability
  | DsnCapability
  | ExtendedVndrCapability
  | DvsecCapability
  | AcsCapability
  | AriCapability
  | AtsCapability
  | PriCapability
  | PasidCapability
  | SriovCapability
  | RebarCapability

type PlainName = Exclude<ExtendedCapabilityName, Decoded['name']> | 'unknown'

/**
 * A capability that is only named here. `'null'` is what VFIO leaves of a first capability that it hides;
 * `'unknown'` is an id without a name, or one whose registers reach beyond the configuration space: the walk
 * reports the second as a problem.
 */
export type PlainExtendedCapability = {
  [N in PlainName]: ExtendedCapabilityHeader & { readonly name: N }
}[PlainName]

/** A capability of the extended list; `name` says which. */
export type ExtendedCapability = Decoded | PlainExtendedCapability

function decodeErr(cap: CapabilityReader, header: ExtendedCapabilityHeader): ErrCapability {
  return {
    ...header,
    name: 'err',
    uncorrectableStatus: cap.read32(regs.PCI_ERR_UNCOR_STATUS),
    uncorrectableMask: cap.read32(regs.PCI_ERR_UNCOR_MASK),
    uncorrectableSeverity: cap.read32(regs.PCI_ERR_UNCOR_SEVER),
    correctableStatus: cap.read32(regs.PCI_ERR_COR_STATUS),
    correctableMask: cap.read32(regs.PCI_ERR_COR_MASK),
    firstErrorPointer: cap.read32(regs.PCI_ERR_CAP) & regs.PCI_ERR_CAP_FEP_MASK,
  }
}

function decodeDsn(cap: CapabilityReader, header: ExtendedCapabilityHeader): DsnCapability {
  const low = BigInt(cap.read32(regs.PCI_DSN_LOWER))
  const high = BigInt(cap.read32(regs.PCI_DSN_UPPER))
  return { ...header, name: 'dsn', serialNumber: (high << 32n) | low }
}

/** Splits the word that VSEC and DVSEC share: who or what, revision, length. */
function vendorHeader(word: number): { id: number; revision: number; length: number } {
  return { id: word & 0xffff, revision: (word >>> 16) & 0xf, length: word >>> 20 }
}

function decodeVndr(cap: CapabilityReader, header: ExtendedCapabilityHeader): ExtendedVndrCapability {
  const { id, revision, length } = vendorHeader(cap.read32(regs.PCI_VNDR_HEADER))
  return { ...header, name: 'vndr', vsecId: id, vsecRevision: revision, length }
}

function decodeDvsec(cap: CapabilityReader, header: ExtendedCapabilityHeader): DvsecCapability {
  const { id, revision, length } = vendorHeader(cap.read32(regs.PCI_DVSEC_HEADER1))
  const dvsecId = cap.read16(regs.PCI_DVSEC_HEADER2)
  return { ...header, name: 'dvsec', vendorId: id, dvsecId, dvsecRevision: revision, length }
}

function acsControls(bits: number): AcsControls {
  return {
    sourceValidation: (bits & regs.PCI_ACS_SV) !== 0,
    translationBlocking: (bits & regs.PCI_ACS_TB) !== 0,
    requestRedirect: (bits & regs.PCI_ACS_RR) !== 0,
    completionRedirect: (bits & regs.PCI_ACS_CR) !== 0,
    upstreamForwarding: (bits & regs.PCI_ACS_UF) !== 0,
    egressControl: (bits & regs.PCI_ACS_EC) !== 0,
    directTranslated: (bits & regs.PCI_ACS_DT) !== 0,
  }
}

function decodeAcs(cap: CapabilityReader, header: ExtendedCapabilityHeader): AcsCapability {
  return {
    ...header,
    name: 'acs',
    supported: acsControls(cap.read16(regs.PCI_ACS_CAP)),
    enabled: acsControls(cap.read16(regs.PCI_ACS_CTRL)),
  }
}

function decodeAri(cap: CapabilityReader, header: ExtendedCapabilityHeader): AriCapability {
  const capabilities = cap.read16(regs.PCI_ARI_CAP)
  return {
    ...header,
    name: 'ari',
    nextFunction: capabilities >> 8,
    mfvcFunctionGroups: (capabilities & regs.PCI_ARI_CAP_MFVC) !== 0,
    acsFunctionGroups: (capabilities & regs.PCI_ARI_CAP_ACS) !== 0,
  }
}

function decodeAts(cap: CapabilityReader, header: ExtendedCapabilityHeader): AtsCapability {
  const capabilities = cap.read16(regs.PCI_ATS_CAP)
  const control = cap.read16(regs.PCI_ATS_CTRL)
  return {
    ...header,
    name: 'ats',
    enabled: (control & regs.PCI_ATS_CTRL_ENABLE) !== 0,
    // The five bits cannot hold 32, which is written as 0.
    invalidateQueueDepth: capabilities & regs.PCI_ATS_CAP_QDEP_MASK || regs.PCI_ATS_MAX_QDEP,
    pageAlignedRequest: (capabilities & regs.PCI_ATS_CAP_PAGE_ALIGNED) !== 0,
    smallestTranslationUnit: 2 ** (regs.PCI_ATS_MIN_STU + (control & regs.PCI_ATS_CTRL_STU_MASK)),
  }
}

function decodePri(cap: CapabilityReader, header: ExtendedCapabilityHeader): PriCapability {
  const status = cap.read16(regs.PCI_PRI_STATUS)
  return {
    ...header,
    name: 'pri',
    enabled: (cap.read16(regs.PCI_PRI_CTRL) & regs.PCI_PRI_CTRL_ENABLE) !== 0,
    responseFailure: (status & regs.PCI_PRI_STATUS_RF) !== 0,
    unexpectedPageRequestGroup: (status & regs.PCI_PRI_STATUS_UPRGI) !== 0,
    stopped: (status & regs.PCI_PRI_STATUS_STOPPED) !== 0,
    pasidRequired: (status & regs.PCI_PRI_STATUS_PASID) !== 0,
    maxRequests: cap.read32(regs.PCI_PRI_MAX_REQ),
    allocatedRequests: cap.read32(regs.PCI_PRI_ALLOC_REQ),
  }
}

function decodePasid(cap: CapabilityReader, header: ExtendedCapabilityHeader): PasidCapability {
  const capabilities = cap.read16(regs.PCI_PASID_CAP)
  return {
    ...header,
    name: 'pasid',
    enabled: (cap.read16(regs.PCI_PASID_CTRL) & regs.PCI_PASID_CTRL_ENABLE) !== 0,
    executePermission: (capabilities & regs.PCI_PASID_CAP_EXEC) !== 0,
    privilegedMode: (capabilities & regs.PCI_PASID_CAP_PRIV) !== 0,
    width: (capabilities & regs.PCI_PASID_CAP_WIDTH) >> 8,
  }
}

/** The numbers of the set bits in `word`, ascending. */
function setBits(word: number): number[] {
  const bits: number[] = []
  for (let bit = 0; bit < 32; bit++) if (((word >>> bit) & 1) !== 0) bits.push(bit)
  return bits
}

/** Bit n of an SR-IOV page size register stands for 2^(n+12) bytes. */
function sriovPageSizes(word: number): number[] {
  return setBits(word).map((bit) => 2 ** (bit + 12))
}

function decodeSriov(cap: CapabilityReader, header: ExtendedCapabilityHeader): SriovCapability {
  const control = cap.read16(regs.PCI_SRIOV_CTRL)
  const systemPageSizes = sriovPageSizes(cap.read32(regs.PCI_SRIOV_SYS_PGSIZE))
  return {
    ...header,
    name: 'sriov',
    vfEnable: (control & regs.PCI_SRIOV_CTRL_VFE) !== 0,
    vfMemorySpaceEnable: (control & regs.PCI_SRIOV_CTRL_MSE) !== 0,
    ariCapableHierarchy: (control & regs.PCI_SRIOV_CTRL_ARI) !== 0,
    vfMigrationCapable: (cap.read32(regs.PCI_SRIOV_CAP) & regs.PCI_SRIOV_CAP_VFM) !== 0,
    initialVfs: cap.read16(regs.PCI_SRIOV_INITIAL_VF),
    totalVfs: cap.read16(regs.PCI_SRIOV_TOTAL_VF),
    numVfs: cap.read16(regs.PCI_SRIOV_NUM_VF),
    functionDependencyLink: cap.read8(regs.PCI_SRIOV_FUNC_LINK),
    vfOffset: cap.read16(regs.PCI_SRIOV_VF_OFFSET),
    vfStride: cap.read16(regs.PCI_SRIOV_VF_STRIDE),
    vfDeviceId: cap.read16(regs.PCI_SRIOV_VF_DID),
    supportedPageSizes: sriovPageSizes(cap.read32(regs.PCI_SRIOV_SUP_PGSIZE)),
    systemPageSize: systemPageSizes.length === 1 ? (systemPageSizes[0] ?? null) : null,
    vfBars: readBars(cap, regs.PCI_SRIOV_BAR, regs.PCI_SRIOV_NUM_BARS),
  }
}

function decodeRebar(cap: CapabilityReader, header: ExtendedCapabilityHeader): RebarCapability {
  // The count stands in the first control register only.
  const count = (cap.read32(regs.PCI_REBAR_CTRL) & regs.PCI_REBAR_CTRL_NBAR_MASK) >> 5
  const bars = Array.from({ length: count }, (_, entry) => {
    const control = cap.read32(regs.PCI_REBAR_CTRL + 8 * entry)
    return {
      bar: control & regs.PCI_REBAR_CTRL_BAR_IDX,
      // Bit 4 stands for 1 MiB; the four bits below it are reserved.
      supportedSizes: setBits(cap.read32(regs.PCI_REBAR_CAP + 8 * entry) >>> 4).map(
        (bit) => 1n << BigInt(bit + 20),
      ),
      size: 1n << BigInt(20 + ((control & regs.PCI_REBAR_CTRL_BAR_SIZE) >> 8)),
    }
  })
  return { ...header, name: 'rebar', bars }
}

const DECODERS: Readonly<
  Record<number, (cap: CapabilityReader, header: ExtendedCapabilityHeader) => Decoded>
> = {
  [regs.PCI_EXT_CAP_ID_ERR]: decodeErr,
  [regs.PCI_EXT_CAP_ID_DSN]: decodeDsn,
  [regs.PCI_EXT_CAP_ID_VNDR]: decodeVndr,
  [regs.PCI_EXT_CAP_ID_ACS]: decodeAcs,
  [regs.PCI_EXT_CAP_ID_ARI]: decodeAri,
  [regs.PCI_EXT_CAP_ID_ATS]: decodeAts,
  [regs.PCI_EXT_CAP_ID_SRIOV]: decodeSriov,
  [regs.PCI_EXT_CAP_ID_PRI]: decodePri,
  [regs.PCI_EXT_CAP_ID_REBAR]: decodeRebar,
  [regs.PCI_EXT_CAP_ID_PASID]: decodePasid,
  [regs.PCI_EXT_CAP_ID_DVSEC]: decodeDvsec,
}

const NAMES: Readonly<Record<number, readonly [ExtendedCapabilityName, string]>> = EXTENDED_CAPABILITY_NAMES

/** Title of an extended capability id, or its number where it has none. */
export function extendedCapabilityTitle(id: number): string {
  return NAMES[id]?.[1] ?? `Extended capability 0x${id.toString(16).padStart(4, '0')}`
}

/**
 * Decodes one extended capability; `header.id` chooses how.
 * @throws CapabilityTruncated if its registers reach beyond the reader's limit
 */
export function decodeExtendedCapability(
  cap: CapabilityReader,
  header: ExtendedCapabilityHeader,
): ExtendedCapability {
  const decode = DECODERS[header.id]
  if (decode !== undefined) return decode(cap, header)
  // DECODERS holds exactly the ids that PlainName leaves out.
  return { ...header, name: NAMES[header.id]?.[0] ?? 'unknown' } as PlainExtendedCapability
}
