// Why a vCPU came back, read from the page that it shares with the kernel (struct kvm_run).

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

/** What `Vcpu.run()` ended with. */
export type VcpuExit =
  | IoExit
  | MmioExit
  /** The guest waits for an interrupt (not with an in-kernel irqchip: the kernel waits then). */
  | { reason: 'hlt' }
  /** A triple fault, or the guest turned its machine off. */
  | { reason: 'shutdown' }
  /** The processor refused the guest's state. */
  | { reason: 'fail-entry'; hardwareReason: bigint }
  /** KVM cannot go on, for example with an instruction that it does not emulate. */
  | { reason: 'internal-error'; suberror: number }
  /** With the split irqchip: the guest has handled a level interrupt of the IOAPIC's vector. */
  | { reason: 'ioapic-eoi'; vector: number }
  /** KVM_SYSTEM_EVENT_*: 1 shut down, 2 reset, 3 crash. */
  | { reason: 'system-event'; type: number }
  /** The guest may take an interrupt now, which was asked for. */
  | { reason: 'interrupt-window' }
  /** kick() ended it, or hold() keeps it from running. */
  | { reason: 'interrupted' }
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

/** What the addon's run() gives when a kick ended it. */
const KICKED = 0xffff_ffff
// Where a reason's details begin.
const DETAILS = 32

/** @internal */
export function decodeExit(window: DataView, reason: number): VcpuExit {
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
      return { reason: 'fail-entry', hardwareReason: window.getBigUint64(DETAILS, true) }
    case REASON.internalError:
      return { reason: 'internal-error', suberror: window.getUint32(DETAILS, true) }
    case REASON.ioapicEoi:
      return { reason: 'ioapic-eoi', vector: window.getUint8(DETAILS) }
    case REASON.systemEvent:
      return { reason: 'system-event', type: window.getUint32(DETAILS, true) }
    case REASON.interruptWindow:
      return { reason: 'interrupt-window' }
    case REASON.interrupted:
    case KICKED:
      return { reason: 'interrupted' }
    default:
      return { reason: 'unknown', number: reason }
  }
}
