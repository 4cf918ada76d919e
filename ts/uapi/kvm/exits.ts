// Why a vCPU came back, read from the page that it shares with the kernel (struct kvm_run).
import { type MoreExit, decodeMoreExit } from './more-exits.js'

/** IN or OUT at a port that nobody in the kernel serves. */
export interface IoExit {
  reason: 'io'
  port: number
  direction: 'in' | 'out'
  /** Bytes of one access: 1, 2 or 4. */
  size: number
  /** How many accesses of that size (REP INS, REP OUTS). */
  count: number
  /** size x count bytes, the kernel's own: what the guest wrote, or for `in` where its answer goes before the next run(). */
  data: Uint8Array
}

/** An access to an address without memory. */
export interface MmioExit {
  reason: 'mmio'
  address: bigint
  /** Bytes, 1 to 8. */
  length: number
  isWrite: boolean
  /** The kernel's own bytes: what the guest wrote, or where the answer to its read goes before the next run(). */
  data: Uint8Array
}

/** The processor refused the guest's state. */
export interface FailEntryExit {
  reason: 'fail-entry'
  /** The processor's own number: VMX's exit reason or instruction error, SVM's exit code. */
  hardwareReason: bigint
  /** The host's processor that refused (Linux 5.9; 0 before). */
  cpu: number
  /** Where the guest was; null when the kernel does not tell. */
  rip: bigint | null
}

/** What KVM could not do (KVM_INTERNAL_ERROR_*). */
export type InternalError =
  'emulation' | 'simultaneous-exceptions' | 'event-delivery' | 'unexpected-exit' | 'unknown'

/** KVM cannot go on, for example with an instruction that it does not emulate. */
export interface InternalErrorExit {
  reason: 'internal-error'
  suberror: number
  /** The suberror in words. */
  name: InternalError
  /** Everything that KVM says of it, in 64-bit words, at most 16. */
  data: bigint[]
  /** The bytes of the instruction that could not be emulated, where KVM has them (Linux 5.14). */
  instruction: Uint8Array | null
  /** Where the guest was; null when the kernel does not tell. */
  rip: bigint | null
}

/** What `Vcpu.run()` ended with. */
export type VcpuExit =
  | IoExit
  | MmioExit
  /** The guest waits for an interrupt (not with an in-kernel irqchip: the kernel waits then). */
  | { reason: 'hlt' }
  /** A triple fault, or the guest turned its machine off. */
  | { reason: 'shutdown' }
  | FailEntryExit
  | InternalErrorExit
  /** With the split irqchip: the guest has handled a level interrupt of the IOAPIC's vector. */
  | { reason: 'ioapic-eoi'; vector: number }
  /** KVM_SYSTEM_EVENT_*: 1 shut down, 2 reset, 3 crash, 4 wakeup, 5 suspend. `data` is what KVM says of it. */
  | { reason: 'system-event'; type: number; data: bigint[] }
  /** The guest may take an interrupt now, which was asked for. */
  | { reason: 'interrupt-window' }
  /** kick() ended it, or hold() keeps it from running. */
  | { reason: 'interrupted' }
  | MoreExit
  /** A reason that this package has no words for, by its number. */
  | { reason: 'unknown'; number: number }

const REASON = {
  io: 2,
  hlt: 5,
  mmio: 6,
  interruptWindow: 7,
  shutdown: 8,
  failEntry: 9,
  interrupted: 10,
  internalError: 17,
  systemEvent: 24,
  ioapicEoi: 26,
} as const

/** KVM_EXIT_MEMORY_FAULT, beside an EFAULT of KVM_RUN. @internal */
export const MEMORY_FAULT = 39

/** What the addon's run() gives when a kick ended it. */
const KICKED = 0xffff_ffff
// Where the reason is, and where its details begin.
const REASON_AT = 8
const DETAILS = 32

const INTERNAL_ERRORS: Record<number, InternalError> = {
  1: 'emulation',
  2: 'simultaneous-exceptions',
  3: 'event-delivery',
  4: 'unexpected-exit',
}
const MOST_DATA = 16
const EMULATION = 1
const HAS_INSTRUCTION = 1n // KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES
const MOST_INSTRUCTION = 15

/** The words that follow a number and their count. */
function dataOf(window: DataView): bigint[] {
  const count = Math.min(window.getUint32(DETAILS + 4, true), MOST_DATA)
  return Array.from({ length: count }, (_, i) => window.getBigUint64(DETAILS + 8 + i * 8, true))
}

function internalError(window: DataView, rip: bigint | null): InternalErrorExit {
  const suberror = window.getUint32(DETAILS, true)
  const data = dataOf(window)
  // The first word is flags then, and the second begins with the length.
  const told = suberror === EMULATION && data.length > 1 && ((data[0] ?? 0n) & HAS_INSTRUCTION) !== 0n
  const length = Math.min(window.getUint8(DETAILS + 16), MOST_INSTRUCTION)
  return {
    reason: 'internal-error',
    suberror,
    name: INTERNAL_ERRORS[suberror] ?? 'unknown',
    data,
    // A copy: the page is the next exit's.
    instruction: told ? new Uint8Array(window.buffer.slice(DETAILS + 17, DETAILS + 17 + length)) : null,
    rip,
  }
}

/**
 * @param rip where the guest is, asked for where that says what went wrong
 * @internal
 */
export function decodeExit(
  window: DataView,
  reason: number,
  rip: () => bigint | null = (): null => null,
): VcpuExit {
  switch (reason) {
    case REASON.io: {
      const size = window.getUint8(DETAILS + 1)
      const count = window.getUint32(DETAILS + 4, true)
      const offset = Number(window.getBigUint64(DETAILS + 8, true))
      return {
        reason: 'io',
        port: window.getUint16(DETAILS + 2, true),
        direction: window.getUint8(DETAILS) === 1 ? 'out' : 'in',
        size,
        count,
        data: new Uint8Array(window.buffer, offset, size * count),
      }
    }
    case REASON.mmio: {
      const length = window.getUint32(DETAILS + 16, true)
      return {
        reason: 'mmio',
        address: window.getBigUint64(DETAILS, true),
        length,
        isWrite: window.getUint8(DETAILS + 20) !== 0,
        data: new Uint8Array(window.buffer, DETAILS + 8, length),
      }
    }
    case REASON.hlt:
      return { reason: 'hlt' }
    case REASON.shutdown:
      return { reason: 'shutdown' }
    case REASON.failEntry:
      return {
        reason: 'fail-entry',
        hardwareReason: window.getBigUint64(DETAILS, true),
        cpu: window.getUint32(DETAILS + 8, true),
        rip: rip(),
      }
    case REASON.internalError:
      return internalError(window, rip())
    case REASON.ioapicEoi:
      return { reason: 'ioapic-eoi', vector: window.getUint8(DETAILS) }
    case REASON.systemEvent:
      return { reason: 'system-event', type: window.getUint32(DETAILS, true), data: dataOf(window) }
    case REASON.interruptWindow:
      return { reason: 'interrupt-window' }
    case REASON.interrupted:
    case KICKED:
      return { reason: 'interrupted' }
    default:
      return decodeMoreExit(window, reason) ?? { reason: 'unknown', number: reason }
  }
}

/** The guest's address of the page that a refused run() reached; null where KVM does not tell (before Linux 6.8). */
export function faultAddress(window: DataView): bigint | null {
  if (window.getUint32(REASON_AT, true) !== MEMORY_FAULT) return null
  return window.getBigUint64(DETAILS + 8, true)
}
