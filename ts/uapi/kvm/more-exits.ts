// Exits of KVM_RUN that most machines never see, or only when they ask for them: model-specific registers, hypercalls,
// debugging, rings that are full. A part of exits.ts.
import { MAX_U64, bigint } from '../../validate.js'

/** Why an access to a model-specific register came to user space (KVM_MSR_EXIT_REASON_*). */
export type MsrCause = 'invalid' | 'unknown' | 'filtered'

/** The guest reads a model-specific register that KVM does not serve. Needs X86_USER_SPACE_MSR. */
export interface MsrReadExit {
  reason: 'msr-read'
  index: number
  cause: MsrCause
  /** What the guest reads, at the next run(). @param value 0 to 2^64 - 1 */
  answer(value: bigint): void
  /** The guest gets #GP, at the next run(). */
  refuse(): void
}

/** The guest writes to one. */
export interface MsrWriteExit {
  reason: 'msr-write'
  index: number
  cause: MsrCause
  value: bigint
  /** The guest gets #GP, at the next run(). Without, it goes on. */
  refuse(): void
}

/** VMCALL or VMMCALL that KVM leaves to its VMM. Needs EXIT_HYPERCALL. */
export interface HypercallExit {
  reason: 'hypercall'
  number: bigint
  /** RBX, RCX, RDX, RSI, and two that are 0 on most. */
  args: bigint[]
  longMode: boolean
  /** What the guest finds in RAX, at the next run(). 0 to 2^64 - 1 */
  answer(value: bigint): void
}

/** The guest stopped where `vcpu.debug` said, or after one instruction. */
export interface DebugExit {
  reason: 'debug'
  /** 1 for #DB (a step, a hardware breakpoint), 3 for #BP (INT3). */
  exception: number
  /** The linear address of the instruction. */
  pc: bigint
  /** Bits 0 to 3: which hardware breakpoint; bit 14: a step. */
  dr6: bigint
  dr7: bigint
}

/** The guest reached memory that is not of the kind its slot has (KVM_EXIT_MEMORY_FAULT, Linux 6.8). */
export interface MemoryFaultExit {
  reason: 'memory-fault'
  address: bigint
  /** Bytes. */
  size: bigint
  /** It is private memory that the guest wanted there (KVM_MEMORY_EXIT_FLAG_PRIVATE). */
  isPrivate: boolean
}

/** Those that say no more than their name, or little. */
export type MoreExit =
  | MsrReadExit
  | MsrWriteExit
  | HypercallExit
  | DebugExit
  | MemoryFaultExit
  /** The processor left the guest for a reason that KVM does not know (KVM_EXIT_UNKNOWN), by the processor's number. */
  | { reason: 'unknown-hardware'; hardwareReason: bigint }
  /** An exception that KVM does not deal with. */
  | { reason: 'exception'; exception: number; errorCode: number }
  /** The guest set its task priority, with an interrupt controller in user space (KVM_EXIT_SET_TPR). */
  | { reason: 'set-tpr' }
  /** The guest's APIC page was accessed at its task priority (KVM_TPR_ACCESS_REPORTING). */
  | { reason: 'tpr-access'; rip: bigint; isWrite: boolean }
  /** A vCPU's dirty ring is full: collect it and reset the rings, then run on. */
  | { reason: 'dirty-ring-full' }
  /** A processor of an encrypted guest waits to be started anew. */
  | { reason: 'ap-reset-hold' }
  /** The guest made a bus lock (X86_BUS_LOCK_EXIT); it was made. */
  | { reason: 'bus-lock' }
  /** The guest let no event be delivered for a while (X86_NOTIFY_VMEXIT). Without context it cannot go on. */
  | { reason: 'notify'; contextValid: boolean }
  /** Hyper-V's interfaces (`type` 1 SynIC, 2 hypercall, 3 debugger) and Xen's (1 hypercall): six words as KVM has them. */
  | { reason: 'hyperv' | 'xen'; type: number; words: bigint[] }

const REASON = {
  unknownHardware: 0,
  exception: 1,
  hypercall: 3,
  debug: 4,
  setTpr: 11,
  tprAccess: 12,
  hyperv: 27,
  msrRead: 29,
  msrWrite: 30,
  dirtyRingFull: 31,
  apResetHold: 32,
  busLock: 33,
  xen: 34,
  notify: 37,
  memoryFault: 39,
} as const

const DETAILS = 32
const CAUSES: Record<number, MsrCause> = { 1: 'invalid', 2: 'unknown', 4: 'filtered' }
const MSR_DATA = DETAILS + 16
const HYPERCALL_RESULT = DETAILS + 56
const HYPERCALL_FLAGS = DETAILS + 64
const PRIVATE = 8n

function words(window: DataView, at: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => window.getBigUint64(at + i * 8, true))
}

function msr(window: DataView, isRead: boolean): MsrReadExit | MsrWriteExit {
  const index = window.getUint32(DETAILS + 12, true)
  const cause = CAUSES[window.getUint32(DETAILS + 8, true)] ?? 'unknown'
  const refuse = (): void => {
    window.setUint8(DETAILS, 1)
  }
  if (!isRead) {
    return { reason: 'msr-write', index, cause, value: window.getBigUint64(MSR_DATA, true), refuse }
  }
  const answer = (value: bigint): void => {
    window.setBigUint64(MSR_DATA, bigint(value, 'value', 0n, MAX_U64), true)
    window.setUint8(DETAILS, 0)
  }
  return { reason: 'msr-read', index, cause, answer, refuse }
}

/** Undefined for a reason that is not here. @internal */
export function decodeMoreExit(window: DataView, reason: number): MoreExit | undefined {
  const u32 = (at: number): number => window.getUint32(DETAILS + at, true)
  const u64 = (at: number): bigint => window.getBigUint64(DETAILS + at, true)
  switch (reason) {
    case REASON.unknownHardware:
      return { reason: 'unknown-hardware', hardwareReason: u64(0) }
    case REASON.exception:
      return { reason: 'exception', exception: u32(0), errorCode: u32(4) }
    case REASON.hypercall:
      return {
        reason: 'hypercall',
        number: u64(0),
        args: words(window, DETAILS + 8, 6),
        longMode: (window.getUint32(HYPERCALL_FLAGS, true) & 1) !== 0,
        answer: (value) => {
          window.setBigUint64(HYPERCALL_RESULT, bigint(value, 'value', 0n, MAX_U64), true)
        },
      }
    case REASON.debug:
      return { reason: 'debug', exception: u32(0), pc: u64(8), dr6: u64(16), dr7: u64(24) }
    case REASON.setTpr:
      return { reason: 'set-tpr' }
    case REASON.tprAccess:
      return { reason: 'tpr-access', rip: u64(0), isWrite: u32(8) !== 0 }
    case REASON.msrRead:
      return msr(window, true)
    case REASON.msrWrite:
      return msr(window, false)
    case REASON.dirtyRingFull:
      return { reason: 'dirty-ring-full' }
    case REASON.apResetHold:
      return { reason: 'ap-reset-hold' }
    case REASON.busLock:
      return { reason: 'bus-lock' }
    case REASON.notify:
      return { reason: 'notify', contextValid: (u32(0) & 1) === 0 }
    case REASON.memoryFault:
      return {
        reason: 'memory-fault',
        address: u64(8),
        size: u64(16),
        isPrivate: (u64(0) & PRIVATE) !== 0n,
      }
    case REASON.hyperv:
    case REASON.xen:
      return {
        reason: reason === REASON.xen ? 'xen' : 'hyperv',
        type: u32(0),
        words: words(window, DETAILS + 8, 6),
      }
    default:
      return undefined
  }
}
