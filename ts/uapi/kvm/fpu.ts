// The x87 and SSE registers (struct kvm_fpu), extended state (struct kvm_xsave) and extended control registers (struct
// kvm_xcrs). Pure.
import { MAX_U64, array, bigint, bytes as bytesOf, integer, object } from '../../validate.js'
import { type FieldsOf, decodeFields, encodeFields, encodeParts, viewOf } from './fields.js'

interface FpuControl {
  /** The control word. */
  fcw: number
  /** The status word. */
  fsw: number
  /** The abridged tag word, a bit per register, as FXSAVE has it: 1 for one that holds a value. */
  ftwx: number
  lastOpcode: number
  lastInstruction: bigint
  lastOperand: bigint
  /** The control and status register of SSE. */
  mxcsr: number
}

/** The registers of x87 and SSE (KVM_GET_FPU). */
export interface FpuState extends FpuControl {
  /** ST0 to ST7: 16 bytes each, of which the first 10 count. */
  fpr: Uint8Array[]
  /** XMM0 to XMM15: 16 bytes each. */
  xmm: Uint8Array[]
}

const CONTROL: FieldsOf<FpuControl> = {
  fcw: ['u16', 128],
  fsw: ['u16', 130],
  ftwx: ['u8', 132],
  lastOpcode: ['u16', 134],
  lastInstruction: ['u64', 136],
  lastOperand: ['u64', 144],
  mxcsr: ['u32', 408],
}
const FPR = { at: 0, count: 8, size: 16 } as const
const XMM = { at: 152, count: 16, size: 16 } as const

function parts(bytes: Uint8Array, { at, count, size }: typeof FPR | typeof XMM): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => bytes.slice(at + i * size, at + (i + 1) * size))
}

/** @internal */
export function decodeFpu(bytes: Uint8Array): FpuState {
  return { ...decodeFields(bytes, CONTROL), fpr: parts(bytes, FPR), xmm: parts(bytes, XMM) }
}

/** Changes what is named in the kernel's bytes. @internal */
export function encodeFpu(bytes: Uint8Array, changes: Partial<FpuState>): void {
  encodeFields(bytes, CONTROL, changes, 'fpu')
  if (changes.fpr !== undefined) encodeParts(bytes, changes.fpr, 'fpu.fpr', FPR)
  if (changes.xmm !== undefined) encodeParts(bytes, changes.xmm, 'fpu.xmm', XMM)
}

/** What XSAVE saves of a processor (KVM_GET_XSAVE, KVM_GET_XSAVE2). Where each part lies is told by CPUID leaf 0xd. */
export interface XsaveArea {
  /** XSTATE_BV: a bit per component that is not in its initial state; bit 0 is x87, 1 SSE, 2 AVX. */
  components: bigint
  /** The area in its standard form, `components` included: 4096 bytes, more where the guest may use AMX. */
  bytes: Uint8Array
}

const XSTATE_BV = 512
const LEAST = 4096
/** Larger than any processor's, and small enough to allocate. */
const MOST = 1 << 20

/** @internal */
export function decodeXsave(bytes: Uint8Array): XsaveArea {
  return { components: viewOf(bytes).getBigUint64(XSTATE_BV, true), bytes }
}

/** A copy of the area, with `components` in its header. @internal */
export function encodeXsave(area: XsaveArea): Uint8Array {
  const { bytes, components } = object(area, 'xsave')
  const copy = bytesOf(bytes, 'xsave.bytes').slice()
  integer(copy.length, 'xsave.bytes.length', LEAST, MOST)
  viewOf(copy).setBigUint64(XSTATE_BV, bigint(components, 'xsave.components', 0n, MAX_U64), true)
  return copy
}

/** An extended control register: 0 says which components of the state are on. */
export interface ExtendedControl {
  /** Its number, as ECX of XSETBV has it. */
  index: number
  value: bigint
}

const XCR_COUNT = 16
const XCR_SIZE = 16
const XCRS_AT = 8
/** Bytes of struct kvm_xcrs. */
const XCRS_BYTES = 392

/** @internal */
export function decodeXcrs(bytes: Uint8Array): ExtendedControl[] {
  const view = viewOf(bytes)
  const count = Math.min(view.getUint32(0, true), XCR_COUNT)
  return Array.from({ length: count }, (_, i) => ({
    index: view.getUint32(XCRS_AT + i * XCR_SIZE, true),
    value: view.getBigUint64(XCRS_AT + i * XCR_SIZE + 8, true),
  }))
}

/** @internal */
export function encodeXcrs(xcrs: readonly ExtendedControl[]): Uint8Array {
  if (array(xcrs, 'xcrs').length > XCR_COUNT) {
    throw new RangeError(`xcrs must be at most ${String(XCR_COUNT)}, not ${String(xcrs.length)}`)
  }
  const bytes = new Uint8Array(XCRS_BYTES)
  const view = viewOf(bytes)
  view.setUint32(0, xcrs.length, true)
  for (const [i, xcr] of xcrs.entries()) {
    const name = `xcrs[${String(i)}]`
    const { index, value } = object(xcr, name)
    view.setUint32(XCRS_AT + i * XCR_SIZE, integer(index, `${name}.index`, 0, 0xffff_ffff), true)
    view.setBigUint64(XCRS_AT + i * XCR_SIZE + 8, bigint(value, `${name}.value`, 0n, MAX_U64), true)
  }
  return bytes
}
