// The in-kernel interrupt controllers of the full chip: two 8259 (struct kvm_pic_state) and an IOAPIC (struct
// kvm_ioapic_state). Pure.
import { MAX_U64, array, bigint, integer, object } from '../../validate.js'
import { type FieldsOf, decodeFields, encodeFields, viewOf } from './fields.js'

/** An 8259. Bits go by its eight pins. */
export interface PicState {
  /** What the pins were, to see edges. */
  lastIrr: number
  /** Requests. */
  irr: number
  /** Masked pins. */
  imr: number
  /** In service. */
  isr: number
  priorityAdd: number
  /** The vector of pin 0. */
  irqBase: number
  readRegisterSelect: number
  poll: number
  specialMask: number
  initState: number
  autoEoi: number
  rotateOnAutoEoi: number
  specialFullyNestedMode: number
  init4: number
  /** Pins that are level-triggered. */
  elcr: number
  elcrMask: number
}

const PIC: FieldsOf<PicState> = {
  lastIrr: ['u8', 0],
  irr: ['u8', 1],
  imr: ['u8', 2],
  isr: ['u8', 3],
  priorityAdd: ['u8', 4],
  irqBase: ['u8', 5],
  readRegisterSelect: ['u8', 6],
  poll: ['u8', 7],
  specialMask: ['u8', 8],
  initState: ['u8', 9],
  autoEoi: ['u8', 10],
  rotateOnAutoEoi: ['u8', 11],
  specialFullyNestedMode: ['u8', 12],
  init4: ['u8', 13],
  elcr: ['u8', 14],
  elcrMask: ['u8', 15],
}

interface IoapicRegisters {
  /** Where the guest sees it. */
  baseAddress: bigint
  /** The register that the guest has selected. */
  selected: number
  id: number
  /** Requests, a bit per pin. */
  irr: number
}

/** The IOAPIC. */
export interface IoapicState extends IoapicRegisters {
  /** 24 entries of 64 bits: vector in bits 0 to 7, level in 15, masked in 16, destination in 56 to 63. */
  redirections: bigint[]
}

const IOAPIC: FieldsOf<IoapicRegisters> = {
  baseAddress: ['u64', 0],
  selected: ['u32', 8],
  id: ['u32', 12],
  irr: ['u32', 16],
}
const REDIRECTIONS_AT = 24
const PINS = 24

/** @internal */
export function decodePic(bytes: Uint8Array): PicState {
  return decodeFields(bytes, PIC)
}

/** @internal */
export function encodePic(bytes: Uint8Array, changes: Partial<PicState>): void {
  encodeFields(bytes, PIC, changes, 'pic')
}

/** @internal */
export function decodeIoapic(bytes: Uint8Array): IoapicState {
  const view = viewOf(bytes)
  const redirections = Array.from({ length: PINS }, (_, i) =>
    view.getBigUint64(REDIRECTIONS_AT + i * 8, true),
  )
  return { ...decodeFields(bytes, IOAPIC), redirections }
}

/** @internal */
export function encodeIoapic(bytes: Uint8Array, changes: Partial<IoapicState>): void {
  encodeFields(bytes, IOAPIC, changes, 'ioapic')
  const { redirections } = object(changes, 'ioapic')
  if (redirections === undefined) return
  integer(array(redirections, 'ioapic.redirections').length, 'ioapic.redirections.length', PINS, PINS)
  const view = viewOf(bytes)
  for (const [i, entry] of redirections.entries()) {
    const value = bigint(entry, `ioapic.redirections[${String(i)}]`, 0n, MAX_U64)
    view.setBigUint64(REDIRECTIONS_AT + i * 8, value, true)
  }
}
