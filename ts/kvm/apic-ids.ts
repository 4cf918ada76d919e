// How messages name local APICs: by 8 bits, by 32, or by the 15 that a guest can put into an MSI's address. What a device's
// message says becomes what KVM takes. Knows the machine's mark only.
import { EINVAL, VfioError } from '../errors.js'
import { addon, type NativeHandle } from '../native/index.js'
import { MAX_U64, array, bigint, boolean, integer, object, options as optionsOf } from '../validate.js'
import type { CpuidEntry } from '../uapi/kvm/cpuid.js'
import { enableCapability } from './state/capability.js'

/** What a message-signalled interrupt writes, and where: a device's MSI address and data. */
export interface MsiMessage {
  /** With 32-bit APIC ids (`vm.enableWideApicIds`), bits 63 to 40 are bits 31 to 8 of the APIC's id. */
  address: bigint
  /** 32 bits. */
  data: number
}

/** A message as the addon takes it. @internal */
export type MsiTarget = [address: bigint, data: number]

/** How a machine's messages name APICs: what vmSetApicIds remembers. */
const MARK = { narrow: 0, wide: 1, extended: 2 } as const

/** KVM_X2APIC_API_* */
const USE_32BIT_IDS = 1n
const DISABLE_BROADCAST_QUIRK = 2n

const APIC_BASE = 0xfee0_0000n
const UPPER_HALF = 0xffff_ffff_0000_0000n
/** Bits 11 to 5 of an address, for bits 14 to 8 of an APIC's id; not in the remappable format (bit 4). */
const EXTENDED = { shift: 5n, mask: 0x7fn } as const
const REMAPPABLE = 1n << 4n
/** Of the upper half: the id's bits 31 to 8 in their own place. */
const UPPER_IDS = 40n

export interface WideApicIdOptions {
  /**
   * Guests put bits 14 to 8 of an APIC's id into bits 11 to 5 of a message's address, and node-vfio takes them from there. Tell
   * the guest by `withExtendedDestinationIds` in its CPUID. Without an IOMMU with interrupt remapping, this is how Linux
   * reaches vCPUs from 256 up with a device's interrupt. Default false.
   */
  extendedDestinationIds?: boolean
}

/** KVM_CAP_X2APIC_API. @internal */
export function enableWideApicIds(vm: NativeHandle, options: WideApicIdOptions | undefined): void {
  const { extendedDestinationIds = false } = optionsOf(options, 'options')
  const mark = boolean(extendedDestinationIds, 'extendedDestinationIds') ? MARK.extended : MARK.wide
  enableCapability(vm, 'X2APIC_API', [USE_32BIT_IDS | DISABLE_BROADCAST_QUIRK])
  addon().vmSetApicIds(vm, mark)
}

function refused(address: bigint, call: string, remedy: string): VfioError {
  return new VfioError(EINVAL, call, { subject: `message address 0x${address.toString(16)}`, remedy })
}

/**
 * Checks a message; gives what KVM takes on this machine.
 * @throws VfioError EINVAL for an address that KVM would cut: the interrupt would reach another vCPU
 * @internal
 */
export function messageTarget(vm: () => NativeHandle, message: MsiMessage, call: string): MsiTarget {
  const { address, data } = object(message, 'message')
  bigint(address, 'message.address', 0n, MAX_U64)
  integer(data, 'message.data', 0, 0xffff_ffff)
  const upper = (address & UPPER_HALF) !== 0n
  const extension = (address >> EXTENDED.shift) & EXTENDED.mask
  // Nearly every message: no question to the machine.
  if (!upper && extension === 0n) return [address, data]
  const mark = addon().vmApicIds(vm())
  if (upper && mark === MARK.narrow) {
    throw refused(
      address,
      call,
      'The machine takes APIC ids of 8 bits, and KVM would ignore the upper half of the address: call vm.enableWideApicIds() first.',
    )
  }
  if (extension === 0n || mark !== MARK.extended || (address & REMAPPABLE) !== 0n) return [address, data]
  if (upper)
    throw refused(
      address,
      call,
      'It has the upper bits of the APIC id twice: in bits 11 to 5, and in 63 to 40.',
    )
  return [(address & ~(EXTENDED.mask << EXTENDED.shift)) | (extension << UPPER_IDS), data]
}

/** Where a message goes, and what it is there. */
export interface ApicMessage {
  /** The APIC's id, 0 to 2^32 - 1; from 255 up the machine needs `vm.enableWideApicIds()`. */
  apicId: number
  /** The interrupt's vector, 16 to 255. */
  vector: number
}

/** The message that raises a vector on one APIC: fixed, edge-triggered, by physical id. */
export function apicMessage(options: ApicMessage): MsiMessage {
  const { apicId, vector } = object(options, 'options')
  integer(apicId, 'apicId', 0, 0xffff_ffff)
  integer(vector, 'vector', 16, 255)
  const id = BigInt(apicId)
  return { address: APIC_BASE | ((id & 0xffn) << 12n) | ((id >> 8n) << UPPER_IDS), data: vector }
}

const KVM_FEATURES = 0x4000_0001
const MSI_EXT_DEST_ID = 1 << 15

/**
 * CPUID entries that tell the guest of extended destination ids (KVM_FEATURE_MSI_EXT_DEST_ID of leaf 0x40000001). For a
 * machine with `enableWideApicIds({ extendedDestinationIds: true })` only.
 * @throws RangeError when the entries have no leaf of KVM's
 */
export function withExtendedDestinationIds(entries: readonly CpuidEntry[]): CpuidEntry[] {
  if (!array(entries, 'entries').some((entry) => entry.function === KVM_FEATURES)) {
    throw new RangeError('entries must have leaf 0x40000001: begin with kvm.supportedCpuid()')
  }
  return entries.map((entry) =>
    entry.function === KVM_FEATURES ? { ...entry, eax: (entry.eax | MSI_EXT_DEST_ID) >>> 0 } : { ...entry },
  )
}
