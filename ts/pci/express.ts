// Decodes the PCI Express capability. It must not know how it was found, and it changes nothing.

import type { CapabilityHeader } from './capability-header.js'
import type { CapabilityReader } from './capability-reader.js'
import * as regs from './registers.js'

/** What stands in `PCI_EXP_FLAGS_TYPE`. */
export type ExpDeviceType =
  | 'endpoint'
  | 'legacyEndpoint'
  | 'rootPort'
  | 'upstreamPort'
  | 'downstreamPort'
  | 'pciBridge'
  | 'pcieBridge'
  | 'rcEndpoint'
  | 'rcEventCollector'
  | 'reserved'

/** The link of a PCI Express function. */
export interface ExpLink {
  /** Highest speed in GT/s, null if the encoding is unknown. */
  readonly maxSpeed: number | null
  /** Highest number of lanes. */
  readonly maxWidth: number
  /** Current speed in GT/s, null if the encoding is unknown (a virtual function reads 0). */
  readonly speed: number | null
  /** Lanes in use, 0 where nothing is negotiated. */
  readonly width: number
  readonly training: boolean
  readonly aspm: 'disabled' | 'l0s' | 'l1' | 'l0sL1'
}

/** PCI Express (`PCI_CAP_ID_EXP`). */
export interface ExpCapability extends CapabilityHeader {
  readonly name: 'exp'
  /** Version of the capability's layout, 1 or 2. */
  readonly version: number
  readonly type: ExpDeviceType
  readonly slotImplemented: boolean
  /** Which MSI or MSI-X vector carries the capability's own interrupts. */
  readonly interruptMessage: number
  readonly deviceCapabilities: {
    /** Largest payload supported, in bytes. */
    readonly maxPayload: number
    readonly extendedTags: boolean
    /** Function Level Reset (`PCI_EXP_DEVCAP_FLR`). */
    readonly flr: boolean
  }
  readonly deviceControl: {
    readonly correctableErrorReporting: boolean
    readonly nonFatalErrorReporting: boolean
    readonly fatalErrorReporting: boolean
    readonly unsupportedRequestReporting: boolean
    readonly relaxedOrdering: boolean
    readonly extendedTags: boolean
    readonly noSnoop: boolean
    /** In bytes. */
    readonly maxPayload: number
    /** In bytes. */
    readonly maxReadRequest: number
  }
  readonly deviceStatus: {
    readonly correctableError: boolean
    readonly nonFatalError: boolean
    readonly fatalError: boolean
    readonly unsupportedRequest: boolean
    /** Requests are out that no completion has answered: wait before a reset. */
    readonly transactionsPending: boolean
  }
  /** Null for what is integrated in the root complex: it has no link. */
  readonly link: ExpLink | null
  /** Null in a version 1 capability, which has no such registers. */
  readonly device2: {
    readonly ariForwarding: boolean
    readonly ariForwardingEnabled: boolean
    readonly completionTimeoutDisable: boolean
    readonly atomicCompletion32: boolean
    readonly atomicCompletion64: boolean
    readonly atomicCompletion128: boolean
    readonly atomicRequestsEnabled: boolean
  } | null
}

const ASPM = ['disabled', 'l0s', 'l1', 'l0sL1'] as const
const LINK_SPEEDS = [null, 2.5, 5, 8, 16, 32, 64] as const
const EXP_TYPES: Readonly<Record<number, ExpDeviceType>> = {
  0x0: 'endpoint',
  0x1: 'legacyEndpoint',
  0x4: 'rootPort',
  0x5: 'upstreamPort',
  0x6: 'downstreamPort',
  0x7: 'pciBridge',
  0x8: 'pcieBridge',
  [regs.PCI_EXP_TYPE_RC_END]: 'rcEndpoint',
  [regs.PCI_EXP_TYPE_RC_EC]: 'rcEventCollector',
}

/** Max_Payload_Size and Max_Read_Request_Size are powers of two from 128. */
function transferSize(encoding: number): number {
  return 128 << encoding
}

function decodeLink(cap: CapabilityReader): ExpLink {
  const capabilities = cap.read32(regs.PCI_EXP_LNKCAP)
  const status = cap.read16(regs.PCI_EXP_LNKSTA)
  return {
    maxSpeed: LINK_SPEEDS[capabilities & regs.PCI_EXP_LNKCAP_SLS] ?? null,
    maxWidth: (capabilities & regs.PCI_EXP_LNKCAP_MLW) >> 4,
    speed: LINK_SPEEDS[status & regs.PCI_EXP_LNKSTA_CLS] ?? null,
    width: (status & regs.PCI_EXP_LNKSTA_NLW) >> 4,
    training: (status & regs.PCI_EXP_LNKSTA_LT) !== 0,
    aspm: ASPM[cap.read16(regs.PCI_EXP_LNKCTL) & regs.PCI_EXP_LNKCTL_ASPMC] ?? 'disabled',
  }
}

function decodeDevice2(cap: CapabilityReader): ExpCapability['device2'] {
  const capabilities = cap.read32(regs.PCI_EXP_DEVCAP2)
  const control = cap.read16(regs.PCI_EXP_DEVCTL2)
  return {
    ariForwarding: (capabilities & regs.PCI_EXP_DEVCAP2_ARI) !== 0,
    ariForwardingEnabled: (control & regs.PCI_EXP_DEVCTL2_ARI) !== 0,
    completionTimeoutDisable: (capabilities & regs.PCI_EXP_DEVCAP2_COMP_TMOUT_DIS) !== 0,
    atomicCompletion32: (capabilities & regs.PCI_EXP_DEVCAP2_ATOMIC_COMP32) !== 0,
    atomicCompletion64: (capabilities & regs.PCI_EXP_DEVCAP2_ATOMIC_COMP64) !== 0,
    atomicCompletion128: (capabilities & regs.PCI_EXP_DEVCAP2_ATOMIC_COMP128) !== 0,
    atomicRequestsEnabled: (control & regs.PCI_EXP_DEVCTL2_ATOMIC_REQ) !== 0,
  }
}

/**
 * Decodes a PCI Express capability.
 * @throws CapabilityTruncated if its registers reach beyond the reader's limit
 */
export function decodeExp(cap: CapabilityReader, header: CapabilityHeader): ExpCapability {
  const flags = cap.read16(regs.PCI_EXP_FLAGS)
  const capabilities = cap.read32(regs.PCI_EXP_DEVCAP)
  const control = cap.read16(regs.PCI_EXP_DEVCTL)
  const status = cap.read16(regs.PCI_EXP_DEVSTA)
  const version = flags & regs.PCI_EXP_FLAGS_VERS
  const type = EXP_TYPES[(flags & regs.PCI_EXP_FLAGS_TYPE) >> 4] ?? 'reserved'
  // A version 1 capability of an integrated function ends after the device registers.
  const hasLink = type !== 'rcEndpoint' && type !== 'rcEventCollector'
  return {
    ...header,
    name: 'exp',
    version,
    type,
    slotImplemented: (flags & regs.PCI_EXP_FLAGS_SLOT) !== 0,
    interruptMessage: (flags & regs.PCI_EXP_FLAGS_IRQ) >> 9,
    deviceCapabilities: {
      maxPayload: transferSize(capabilities & regs.PCI_EXP_DEVCAP_PAYLOAD),
      extendedTags: (capabilities & regs.PCI_EXP_DEVCAP_EXT_TAG) !== 0,
      flr: (capabilities & regs.PCI_EXP_DEVCAP_FLR) !== 0,
    },
    deviceControl: {
      correctableErrorReporting: (control & regs.PCI_EXP_DEVCTL_CERE) !== 0,
      nonFatalErrorReporting: (control & regs.PCI_EXP_DEVCTL_NFERE) !== 0,
      fatalErrorReporting: (control & regs.PCI_EXP_DEVCTL_FERE) !== 0,
      unsupportedRequestReporting: (control & regs.PCI_EXP_DEVCTL_URRE) !== 0,
      relaxedOrdering: (control & regs.PCI_EXP_DEVCTL_RELAX_EN) !== 0,
      extendedTags: (control & regs.PCI_EXP_DEVCTL_EXT_TAG) !== 0,
      noSnoop: (control & regs.PCI_EXP_DEVCTL_NOSNOOP_EN) !== 0,
      maxPayload: transferSize((control & regs.PCI_EXP_DEVCTL_PAYLOAD) >> 5),
      maxReadRequest: transferSize((control & regs.PCI_EXP_DEVCTL_READRQ) >> 12),
    },
    deviceStatus: {
      correctableError: (status & regs.PCI_EXP_DEVSTA_CED) !== 0,
      nonFatalError: (status & regs.PCI_EXP_DEVSTA_NFED) !== 0,
      fatalError: (status & regs.PCI_EXP_DEVSTA_FED) !== 0,
      unsupportedRequest: (status & regs.PCI_EXP_DEVSTA_URD) !== 0,
      transactionsPending: (status & regs.PCI_EXP_DEVSTA_TRPND) !== 0,
    },
    link: hasLink ? decodeLink(cap) : null,
    device2: version >= 2 ? decodeDevice2(cap) : null,
  }
}
