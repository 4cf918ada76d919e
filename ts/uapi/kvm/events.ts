// What is about to happen to a vCPU: exceptions, interrupts and messages that it has taken and not begun to handle (struct
// kvm_vcpu_events). Pure.
import { integer, object } from '../../validate.js'
import { type FieldsOf, decodeFields, encodeFields, viewOf } from './fields.js'

/** An exception, of the guest or put in. */
export interface PendingException {
  /** It is being delivered. */
  injected: boolean
  /** It was raised, and not delivered yet; `injected` then means nothing. Needs KVM_CAP_EXCEPTION_PAYLOAD, otherwise false. */
  pending: boolean
  /** Its number, 0 to 31. */
  vector: number
  hasErrorCode: boolean
  errorCode: number
}

/** An interrupt that is being delivered. */
export interface InjectedInterrupt {
  injected: boolean
  vector: number
  /** From the instruction INT, not from outside. */
  soft: boolean
  /** What holds interrupts off for one instruction: bit 0 after MOV SS, bit 1 after STI. */
  shadow: number
}

export interface NmiState {
  /** One is being delivered. */
  injected: boolean
  /** One waits. */
  pending: boolean
  /** NMIs are blocked, as they are until IRET. */
  masked: boolean
}

/** System management mode. */
export interface SmiState {
  /** The guest is in it. */
  active: boolean
  pending: boolean
  insideNmi: boolean
  latchedInit: boolean
}

/** What a vCPU is in the middle of (KVM_GET_VCPU_EVENTS). */
export interface VcpuEvents {
  exception: PendingException
  interrupt: InjectedInterrupt
  nmi: NmiState
  /** The vector of a SIPI that waits, 0 to 255: the start address divided by 4096. It can be set; KVM always gives 0. */
  sipiVector: number
  smi: SmiState
}

const EXCEPTION: FieldsOf<PendingException> = {
  injected: ['flag', 0],
  vector: ['u8', 1],
  hasErrorCode: ['flag', 2],
  pending: ['flag', 3],
  errorCode: ['u32', 4],
}
const INTERRUPT: FieldsOf<InjectedInterrupt> = {
  injected: ['flag', 8],
  vector: ['u8', 9],
  soft: ['flag', 10],
  shadow: ['u8', 11],
}
const NMI: FieldsOf<NmiState> = { injected: ['flag', 12], pending: ['flag', 13], masked: ['flag', 14] }
const SMI: FieldsOf<SmiState> = {
  active: ['flag', 24],
  pending: ['flag', 25],
  insideNmi: ['flag', 26],
  latchedInit: ['flag', 27],
}
const SIPI_AT = 16
const FLAGS_AT = 20

/** KVM_VCPUEVENT_VALID_*: what the kernel is to take of the structure; the rest it leaves alone. */
const VALID = { nmiPending: 1, sipiVector: 2, shadow: 4, smm: 8 } as const

/** @internal */
export function decodeEvents(bytes: Uint8Array): VcpuEvents {
  return {
    exception: decodeFields(bytes, EXCEPTION),
    interrupt: decodeFields(bytes, INTERRUPT),
    nmi: decodeFields(bytes, NMI),
    sipiVector: viewOf(bytes).getUint32(SIPI_AT, true),
    smi: decodeFields(bytes, SMI),
  }
}

/** What may be changed: any part of any of them. */
export interface VcpuEventChanges {
  exception?: Partial<PendingException>
  interrupt?: Partial<InjectedInterrupt>
  nmi?: Partial<NmiState>
  sipiVector?: number
  smi?: Partial<SmiState>
}

/**
 * Changes what is named in the bytes that were just read, and tells the kernel to take that. What it said of features
 * (payload, triple fault) stays.
 * @internal
 */
export function encodeEvents(bytes: Uint8Array, changes: VcpuEventChanges): void {
  const { exception = {}, interrupt = {}, nmi = {}, smi = {}, sipiVector } = object(changes, 'events')
  encodeFields(bytes, EXCEPTION, exception, 'events.exception')
  integer(exception.vector ?? 0, 'events.exception.vector', 0, 31)
  encodeFields(bytes, INTERRUPT, interrupt, 'events.interrupt')
  integer(interrupt.shadow ?? 0, 'events.interrupt.shadow', 0, 3)
  encodeFields(bytes, NMI, nmi, 'events.nmi')
  encodeFields(bytes, SMI, smi, 'events.smi')
  const view = viewOf(bytes)
  // What is not named is not to be set: a SIPI that was taken already would come again.
  let flags =
    view.getUint32(FLAGS_AT, true) & ~(VALID.nmiPending | VALID.sipiVector | VALID.shadow | VALID.smm)
  if (nmi.pending !== undefined) flags |= VALID.nmiPending
  if (interrupt.shadow !== undefined) flags |= VALID.shadow
  if (changes.smi !== undefined) flags |= VALID.smm
  if (sipiVector !== undefined) {
    view.setUint32(SIPI_AT, integer(sipiVector, 'events.sipiVector', 0, 255), true)
    flags |= VALID.sipiVector
  }
  view.setUint32(FLAGS_AT, flags, true)
}
