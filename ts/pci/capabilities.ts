// Decodes the capabilities of the standard list (offsets 0x40-0xff). It must not know how a capability was
// found, and it changes nothing on the device.

import type { CapabilityHeader } from './capability-header.js'
import { CAPABILITY_NAMES, type CapabilityName } from './capability-names.js'
import type { CapabilityReader } from './capability-reader.js'
import { decodeExp, type ExpCapability } from './express.js'
import * as regs from './registers.js'

/** A device power state as `PCI_PM_CTRL` can hold it (D3cold cannot be read). */
export type PowerState = 'D0' | 'D1' | 'D2' | 'D3hot'

/** Power Management (`PCI_CAP_ID_PM`). */
export interface PmCapability extends CapabilityHeader {
  readonly name: 'pm'
  /** Version of the PCI Power Management specification, 1-3. */
  readonly version: number
  readonly state: PowerState
  /** `PCI_PM_CTRL_NO_SOFT_RESET`: registers keep their contents from D3hot to D0, so that it is no reset. */
  readonly noSoftReset: boolean
  readonly d1Support: boolean
  readonly d2Support: boolean
  /** States from which the device can signal PME#. */
  readonly pmeSupport: readonly (PowerState | 'D3cold')[]
  readonly pmeEnabled: boolean
  readonly pmeStatus: boolean
}

/** Message Signalled Interrupts (`PCI_CAP_ID_MSI`). */
export interface MsiCapability extends CapabilityHeader {
  readonly name: 'msi'
  readonly enabled: boolean
  /** Vectors that the device can ask for, a power of two, 1-32 unless the device breaks the rules. */
  readonly vectorsCapable: number
  /** Vectors granted to it, a power of two. */
  readonly vectorsEnabled: number
  readonly is64Bit: boolean
  /** Whether single vectors can be masked (`PCI_MSI_FLAGS_MASKBIT`). */
  readonly maskable: boolean
  readonly address: bigint
  readonly data: number
  /** One bit per masked vector; null if the device cannot mask. */
  readonly mask: number | null
  /** One bit per vector that is masked and pending; null if the device cannot mask. */
  readonly pending: number | null
}

/** A range inside a BAR. */
export interface BarRange {
  /** Number of the BAR, 0-5 (`BIR`); 6 and 7 are reserved and given as read. */
  readonly bar: number
  /** Bytes from the start of the BAR. */
  readonly offset: number
  /** Length in bytes. */
  readonly size: number
}

/** MSI-X (`PCI_CAP_ID_MSIX`). */
export interface MsixCapability extends CapabilityHeader {
  readonly name: 'msix'
  readonly enabled: boolean
  /** `PCI_MSIX_FLAGS_MASKALL`: every vector is masked. */
  readonly functionMask: boolean
  /** Vectors in the table, 1-2048. */
  readonly tableSize: number
  /** Where the table is: 16 bytes per vector. */
  readonly table: BarRange
  /** Where the pending bit array is: 8 bytes per 64 vectors, rounded up. */
  readonly pba: BarRange
}

/** Vendor Specific (`PCI_CAP_ID_VNDR`). */
export interface VndrCapability extends CapabilityHeader {
  readonly name: 'vndr'
  /** Bytes in the capability, its three bytes of header included. */
  readonly length: number
}

/** A bridge's subsystem ids (`PCI_CAP_ID_SSVID`). */
export interface SsvidCapability extends CapabilityHeader {
  readonly name: 'ssvid'
  readonly vendorId: number
  readonly deviceId: number
}

/** Advanced Features (`PCI_CAP_ID_AF`): Function Level Reset for conventional and integrated devices. */
export interface AfCapability extends CapabilityHeader {
  readonly name: 'af'
  readonly flr: boolean
  /** Whether `transactionsPending` means something. */
  readonly transactionsPendingSupport: boolean
  readonly transactionsPending: boolean
}

type Decoded =
  | PmCapability
  | MsiCapability
  | MsixCapability
  | ExpCapability
  | VndrCapability
  | SsvidCapability
  | AfCapability

type PlainName = Exclude<CapabilityName, Decoded['name']> | 'unknown'

/**
 * A capability that is only named here. `'unknown'` is an id without a name, or one whose registers reach
 * beyond the configuration space: the walk reports the second as a problem.
 */
export type PlainCapability = { [N in PlainName]: CapabilityHeader & { readonly name: N } }[PlainName]

/** A capability of the standard list; `name` says which. */
export type Capability = Decoded | PlainCapability

const POWER_STATES = ['D0', 'D1', 'D2', 'D3hot'] as const
const PME_STATES = ['D0', 'D1', 'D2', 'D3hot', 'D3cold'] as const

function decodePm(cap: CapabilityReader, header: CapabilityHeader): PmCapability {
  const pmc = cap.read16(regs.PCI_PM_PMC)
  const control = cap.read16(regs.PCI_PM_CTRL)
  return {
    ...header,
    name: 'pm',
    version: pmc & regs.PCI_PM_CAP_VER_MASK,
    state: POWER_STATES[control & regs.PCI_PM_CTRL_STATE_MASK] ?? 'D0',
    noSoftReset: (control & regs.PCI_PM_CTRL_NO_SOFT_RESET) !== 0,
    d1Support: (pmc & regs.PCI_PM_CAP_D1) !== 0,
    d2Support: (pmc & regs.PCI_PM_CAP_D2) !== 0,
    pmeSupport: PME_STATES.filter((_, bit) => ((pmc >> (regs.PCI_PM_CAP_PME_SHIFT + bit)) & 1) !== 0),
    pmeEnabled: (control & regs.PCI_PM_CTRL_PME_ENABLE) !== 0,
    pmeStatus: (control & regs.PCI_PM_CTRL_PME_STATUS) !== 0,
  }
}

function decodeMsi(cap: CapabilityReader, header: CapabilityHeader): MsiCapability {
  const flags = cap.read16(regs.PCI_MSI_FLAGS)
  const is64Bit = (flags & regs.PCI_MSI_FLAGS_64BIT) !== 0
  const maskable = (flags & regs.PCI_MSI_FLAGS_MASKBIT) !== 0
  const high = is64Bit ? cap.read32(regs.PCI_MSI_ADDRESS_HI) : 0
  return {
    ...header,
    name: 'msi',
    enabled: (flags & regs.PCI_MSI_FLAGS_ENABLE) !== 0,
    vectorsCapable: 1 << ((flags & regs.PCI_MSI_FLAGS_QMASK) >> 1),
    vectorsEnabled: 1 << ((flags & regs.PCI_MSI_FLAGS_QSIZE) >> 4),
    is64Bit,
    maskable,
    address: (BigInt(high) << 32n) | BigInt(cap.read32(regs.PCI_MSI_ADDRESS_LO)),
    data: cap.read16(is64Bit ? regs.PCI_MSI_DATA_64 : regs.PCI_MSI_DATA_32),
    mask: maskable ? cap.read32(is64Bit ? regs.PCI_MSI_MASK_64 : regs.PCI_MSI_MASK_32) : null,
    pending: maskable ? cap.read32(is64Bit ? regs.PCI_MSI_PENDING_64 : regs.PCI_MSI_PENDING_32) : null,
  }
}

function barRange(register: number, size: number): BarRange {
  const bar = register & regs.PCI_MSIX_TABLE_BIR
  return { bar, offset: register - bar, size }
}

function decodeMsix(cap: CapabilityReader, header: CapabilityHeader): MsixCapability {
  const flags = cap.read16(regs.PCI_MSIX_FLAGS)
  const tableSize = (flags & regs.PCI_MSIX_FLAGS_QSIZE) + 1
  return {
    ...header,
    name: 'msix',
    enabled: (flags & regs.PCI_MSIX_FLAGS_ENABLE) !== 0,
    functionMask: (flags & regs.PCI_MSIX_FLAGS_MASKALL) !== 0,
    tableSize,
    table: barRange(cap.read32(regs.PCI_MSIX_TABLE), tableSize * regs.PCI_MSIX_ENTRY_SIZE),
    pba: barRange(cap.read32(regs.PCI_MSIX_PBA), Math.ceil(tableSize / 64) * 8),
  }
}

function decodeVndr(cap: CapabilityReader, header: CapabilityHeader): VndrCapability {
  return { ...header, name: 'vndr', length: cap.read8(2) }
}

function decodeSsvid(cap: CapabilityReader, header: CapabilityHeader): SsvidCapability {
  return {
    ...header,
    name: 'ssvid',
    vendorId: cap.read16(regs.PCI_SSVID_VENDOR_ID),
    deviceId: cap.read16(regs.PCI_SSVID_DEVICE_ID),
  }
}

function decodeAf(cap: CapabilityReader, header: CapabilityHeader): AfCapability {
  const capabilities = cap.read8(regs.PCI_AF_CAP)
  return {
    ...header,
    name: 'af',
    flr: (capabilities & regs.PCI_AF_CAP_FLR) !== 0,
    transactionsPendingSupport: (capabilities & regs.PCI_AF_CAP_TP) !== 0,
    transactionsPending: (cap.read8(regs.PCI_AF_STATUS) & regs.PCI_AF_STATUS_TP) !== 0,
  }
}

const DECODERS: Readonly<Record<number, (cap: CapabilityReader, header: CapabilityHeader) => Decoded>> = {
  [regs.PCI_CAP_ID_PM]: decodePm,
  [regs.PCI_CAP_ID_MSI]: decodeMsi,
  [regs.PCI_CAP_ID_VNDR]: decodeVndr,
  [regs.PCI_CAP_ID_SSVID]: decodeSsvid,
  [regs.PCI_CAP_ID_EXP]: decodeExp,
  [regs.PCI_CAP_ID_MSIX]: decodeMsix,
  [regs.PCI_CAP_ID_AF]: decodeAf,
}

const NAMES: Readonly<Record<number, readonly [CapabilityName, string]>> = CAPABILITY_NAMES

/** Title of a standard capability id, or its number where it has none. */
export function capabilityTitle(id: number): string {
  return NAMES[id]?.[1] ?? `Capability 0x${id.toString(16).padStart(2, '0')}`
}

/**
 * Decodes one capability; `header.id` chooses how.
 * @throws CapabilityTruncated if its registers reach beyond the reader's limit
 */
export function decodeCapability(cap: CapabilityReader, header: CapabilityHeader): Capability {
  const decode = DECODERS[header.id]
  if (decode !== undefined) return decode(cap, header)
  // DECODERS holds exactly the ids that PlainName leaves out.
  return { ...header, name: NAMES[header.id]?.[0] ?? 'unknown' } as PlainCapability
}
