// A vCPU's registers, typed, over the kernel's bytes (struct kvm_regs and struct kvm_sregs of x86).
import { bigint, integer, MAX_U64, object, onlyNamed } from '../../validate.js'

const GENERAL = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const

/** The general registers (KVM_GET_REGS). */
export type Registers = Record<(typeof GENERAL)[number], bigint>

/** A segment register with what is hidden behind its selector. */
export interface Segment {
  base: bigint
  /** Bytes less one. */
  limit: number
  selector: number
  type: number
  present: boolean
  /** The privilege level, 0 to 3. */
  dpl: number
  /** Default operand size: 32 bits when set. */
  db: boolean
  /** Code or data, not a system segment. */
  s: boolean
  /** 64-bit code. */
  l: boolean
  /** The limit counts pages. */
  g: boolean
  avl: boolean
  unusable: boolean
}

/** A descriptor table's place. */
export interface DescriptorTable {
  base: bigint
  limit: number
}

const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const
const TABLES = ['gdt', 'idt'] as const
const CONTROL = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const

/** Segments, tables and control registers (KVM_GET_SREGS). */
export type SpecialRegisters = Record<(typeof SEGMENTS)[number], Segment> &
  Record<(typeof TABLES)[number], DescriptorTable> &
  Record<(typeof CONTROL)[number], bigint>

const SEGMENT_SIZE = 24
const TABLE_SIZE = 16
const TABLES_AT = SEGMENTS.length * SEGMENT_SIZE
const CONTROL_AT = TABLES_AT + TABLES.length * TABLE_SIZE

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** @internal */
export function decodeRegisters(bytes: Uint8Array): Registers {
  const view = viewOf(bytes)
  return Object.fromEntries(GENERAL.map((name, i) => [name, view.getBigUint64(i * 8, true)])) as Registers
}

/** Changes the registers that are named in the kernel's bytes. @internal */
export function encodeRegisters(bytes: Uint8Array, changes: Partial<Registers>): void {
  const view = viewOf(bytes)
  onlyNamed(object(changes, 'registers'), 'registers', GENERAL)
  for (const [i, name] of GENERAL.entries()) {
    const value = changes[name]
    if (value !== undefined) view.setBigUint64(i * 8, bigint(value, name, 0n, MAX_U64), true)
  }
}

function decodeSegment(view: DataView, at: number): Segment {
  const byte = (offset: number): number => view.getUint8(at + offset)
  return {
    base: view.getBigUint64(at, true),
    limit: view.getUint32(at + 8, true),
    selector: view.getUint16(at + 12, true),
    type: byte(14),
    present: byte(15) !== 0,
    dpl: byte(16),
    db: byte(17) !== 0,
    s: byte(18) !== 0,
    l: byte(19) !== 0,
    g: byte(20) !== 0,
    avl: byte(21) !== 0,
    unusable: byte(22) !== 0,
  }
}

function encodeSegment(view: DataView, at: number, segment: Segment, name: string): void {
  object(segment, name)
  view.setBigUint64(at, bigint(segment.base, `${name}.base`, 0n, MAX_U64), true)
  view.setUint32(at + 8, integer(segment.limit, `${name}.limit`, 0, 0xffff_ffff), true)
  view.setUint16(at + 12, integer(segment.selector, `${name}.selector`, 0, 0xffff), true)
  view.setUint8(at + 14, integer(segment.type, `${name}.type`, 0, 15))
  view.setUint8(at + 15, Number(segment.present))
  view.setUint8(at + 16, integer(segment.dpl, `${name}.dpl`, 0, 3))
  for (const [i, flag] of (['db', 's', 'l', 'g', 'avl', 'unusable'] as const).entries()) {
    view.setUint8(at + 17 + i, Number(segment[flag]))
  }
}

/** @internal */
export function decodeSpecialRegisters(bytes: Uint8Array): SpecialRegisters {
  const view = viewOf(bytes)
  const segments = SEGMENTS.map((name, i) => [name, decodeSegment(view, i * SEGMENT_SIZE)])
  const tables = TABLES.map((name, i) => {
    const at = TABLES_AT + i * TABLE_SIZE
    return [name, { base: view.getBigUint64(at, true), limit: view.getUint16(at + 8, true) }]
  })
  const control = CONTROL.map((name, i) => [name, view.getBigUint64(CONTROL_AT + i * 8, true)])
  return Object.fromEntries([...segments, ...tables, ...control]) as SpecialRegisters
}

/** @internal */
export function encodeSpecialRegisters(bytes: Uint8Array, changes: Partial<SpecialRegisters>): void {
  const view = viewOf(bytes)
  onlyNamed(object(changes, 'specialRegisters'), 'specialRegisters', [...SEGMENTS, ...TABLES, ...CONTROL])
  for (const [i, name] of SEGMENTS.entries()) {
    const segment = changes[name]
    if (segment !== undefined) encodeSegment(view, i * SEGMENT_SIZE, segment, name)
  }
  for (const [i, name] of TABLES.entries()) {
    const table = changes[name]
    if (table === undefined) continue
    object(table, name)
    const at = TABLES_AT + i * TABLE_SIZE
    view.setBigUint64(at, bigint(table.base, `${name}.base`, 0n, MAX_U64), true)
    view.setUint16(at + 8, integer(table.limit, `${name}.limit`, 0, 0xffff), true)
  }
  for (const [i, name] of CONTROL.entries()) {
    const value = changes[name]
    if (value !== undefined) {
      view.setBigUint64(CONTROL_AT + i * 8, bigint(value, name, 0n, MAX_U64), true)
    }
  }
}
