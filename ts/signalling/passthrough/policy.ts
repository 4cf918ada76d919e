// What of a device is for a guest: which capabilities it sees where the VMM says nothing, what the VMM may do with an access,
// and how its answer becomes bytes.
import type { Capability } from '../../pci/capabilities.js'
import type { ExtendedCapability } from '../../pci/extended-capabilities.js'
import { shown } from '../../validate.js'

// What a guest can use of a function that stands alone behind a virtual bridge. Left out is what speaks for the platform
// around the device (hot-plug, ACS, SR-IOV with its addresses, error logs), or needs an IOMMU that the guest does not have
// (ATS, PRI, PASID). Lists of what is allowed: what they do not know, a guest does not see.
const SHOWN: ReadonlySet<Capability['name']> = new Set([
  'pm',
  'vpd',
  'msi',
  'vndr',
  'exp',
  'msix',
  'sata',
  'af',
])

const CXL_VENDOR = 0x1e98
/** The DVSEC of CXL devices that has the host's addresses of their memory. */
const CXL_DEVICE = 0

/** Whether a guest may see a capability. */
export function isForGuests(capability: Capability): boolean {
  return SHOWN.has(capability.name)
}

/** How many bytes of an extended capability a guest may see, from its start; 0 for none. */
export function extendedForGuests(capability: ExtendedCapability): number {
  switch (capability.name) {
    case 'dsn':
      return 12
    case 'vndr':
      return capability.length
    case 'dvsec':
      return capability.vendorId === CXL_VENDOR && capability.dvsecId === CXL_DEVICE ? 0 : capability.length
    default:
      return 0
  }
}

/** One access of the guest that reached user space. */
export interface PassthroughAccess {
  /** `config`, `bar0` to `bar5`, or `rom`. */
  readonly space: string
  /** Bytes from its start. */
  readonly offset: number
  /** Bytes, 1 to 8. */
  readonly size: number
  /** What the guest writes; undefined for a read. */
  readonly written: bigint | undefined
}

/**
 * What becomes of an access: it goes on as it is (`allow`, or nothing); it goes nowhere (`deny`): a read gives all ones, a
 * write is dropped; or the guest reads, or the device is written, another value.
 */
export type PolicyAnswer = 'allow' | 'deny' | { replace: bigint } | undefined

/** Asked for every access that exits: to config space, to trapped pages, to I/O ports and the ROM. */
export type PassthroughPolicy = (access: PassthroughAccess) => PolicyAnswer

/** Little-endian bytes as a number. */
export function numberOf(bytes: Uint8Array): bigint {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number)
  return value
}

/** The lowest bytes of a number, little-endian. */
export function putNumber(bytes: Uint8Array, value: bigint): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number((value >> BigInt(8 * i)) & 0xffn)
}

/** @throws TypeError where the policy gives what it may not */
function ask(policy: PassthroughPolicy | null, access: PassthroughAccess): 'allow' | 'deny' | bigint {
  const answer: unknown = policy?.(access) ?? 'allow'
  if (answer === 'allow' || answer === 'deny') return answer
  const replace: unknown = typeof answer === 'object' ? (answer as { replace?: unknown }).replace : undefined
  if (typeof replace === 'bigint') return replace
  throw new TypeError(`policy must answer 'allow', 'deny' or { replace: a bigint }, not ${shown(answer)}`)
}

/** Asks the policy about a read; true when it answered in the device's place. */
export function readByPolicy(
  policy: PassthroughPolicy | null,
  space: string,
  offset: number,
  target: Uint8Array,
): boolean {
  const answer = ask(policy, { space, offset, size: target.length, written: undefined })
  if (answer === 'allow') return false
  if (answer === 'deny') target.fill(0xff)
  else putNumber(target, answer)
  return true
}

/** Asks the policy about a write: what the device gets, or null when it gets nothing. */
export function writeByPolicy(
  policy: PassthroughPolicy | null,
  space: string,
  offset: number,
  source: Uint8Array,
): Uint8Array | null {
  const answer = ask(policy, { space, offset, size: source.length, written: numberOf(source) })
  if (answer === 'allow') return source
  if (answer === 'deny') return null
  const replaced = new Uint8Array(source.length)
  putNumber(replaced, answer)
  return replaced
}
