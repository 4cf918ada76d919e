// A small assembler: the few x86 instructions that the guests here need, in 32-bit code, and what a processor that wakes
// up in 16-bit code needs to get there. Owns encodings and labels; knows nothing of what a program does.

const REGISTERS_32 = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'] as const
const REGISTERS_8 = ['al', 'cl', 'dl', 'bl'] as const
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const

export type Register32 = (typeof REGISTERS_32)[number]
export type Register8 = (typeof REGISTERS_8)[number]
export type Register = Register32 | Register8

/** The address of a label, plus a number. */
export interface Reference {
  label: string
  plus: number
}

/** A number, or an address that is known when everything is assembled. */
export type Value = number | Reference

/** An operand in memory: `[base + displacement]`, of 1 or 4 bytes. */
export interface Memory {
  size: 1 | 4
  base: Register32 | undefined
  displacement: Value
}

/** The address of a label, plus `plus`. */
export function at(label: string, plus = 0): Reference {
  return { label, plus }
}

/** The 32 bits at an address: `dword(0x500)`, `dword(at('text'))`, `dword('ebx', 4)`. */
export function dword(where: Register32 | Value, displacement: Value = 0): Memory {
  return typeof where === 'string'
    ? { size: 4, base: where, displacement }
    : { size: 4, base: undefined, displacement: where }
}

/** Conditions of a jump, by what comes behind the `j`. */
const CONDITIONS = { b: 0x2, ae: 0x3, e: 0x4, ne: 0x5, be: 0x6, a: 0x7 } as const
const ARITHMETIC = { add: 0, or: 1, and: 4, sub: 5, xor: 6, cmp: 7 } as const
const SHIFTS = { shl: 4, shr: 5 } as const

/** Instructions without operands. */
const PLAIN = { cld: 0xfc, cli: 0xfa, hlt: 0xf4, lodsb: 0xac, ret: 0xc3, sti: 0xfb } as const

export type Condition = keyof typeof CONDITIONS
export type Arithmetic = keyof typeof ARITHMETIC
export type Plain = keyof typeof PLAIN

/** A place that waits for the address of a label. */
interface Fixup {
  offset: number
  size: 2 | 4
  reference: Reference
  /** Counted from the end of the place, as jumps do. */
  relative: boolean
}

function number(register: Register): number {
  const wide = (REGISTERS_32 as readonly string[]).indexOf(register)
  return wide >= 0 ? wide : (REGISTERS_8 as readonly string[]).indexOf(register)
}

function sizeOf(operand: Register | Memory): 1 | 4 {
  if (typeof operand !== 'string') return operand.size
  return operand.startsWith('e') ? 4 : 1
}

function isMemory(operand: Register | Memory | Value): operand is Memory {
  return typeof operand === 'object' && 'size' in operand
}

function isRegister(operand: Register | Memory | Value): operand is Register {
  return typeof operand === 'string'
}

/**
 * Collects a program and assembles it. Methods are the instructions, destination first, as in Intel's syntax; each
 * returns the assembler.
 */
export class Assembler {
  /** The address of the first byte. */
  readonly origin: number
  readonly #bytes: number[] = []
  readonly #labels = new Map<string, number>()
  readonly #fixups: Fixup[] = []

  constructor(origin: number) {
    this.origin = origin
  }

  label(name: string): this {
    if (this.#labels.has(name)) throw new Error(`the label ${name} is there already`)
    this.#labels.set(name, this.origin + this.#bytes.length)
    return this
  }

  /** Bytes as they are; a string is ASCII. */
  data(bytes: string | readonly number[]): this {
    this.#bytes.push(...(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes))
    return this
  }

  /** Numbers of a size in bytes, little-endian. */
  values(size: 2 | 4, ...values: Value[]): this {
    for (const value of values) this.#value(size, value)
    return this
  }

  /** An instruction without operands: `op('hlt')`. Several stand one behind the other. */
  op(...names: Plain[]): this {
    return this.data(names.map((name) => PLAIN[name]))
  }

  mov(target: Register | Memory, source: Register | Memory | Value): this {
    const wide = sizeOf(target) === 4 ? 1 : 0
    if (isMemory(source)) return this.#modRm([0x8a | wide], number(target as Register), source)
    if (isRegister(source)) return this.#modRm([0x88 | wide], number(source), target)
    if (isRegister(target)) {
      this.data([(wide === 1 ? 0xb8 : 0xb0) | number(target)])
    } else {
      this.#modRm([0xc6 | wide], 0, target)
    }
    return this.#value(sizeOf(target), source)
  }

  /** Swaps in one step, also against other processors. */
  xchg(target: Memory, source: Register32): this {
    return this.#modRm([0x87], number(source), target)
  }

  /** `arithmetic('add', target, source)`: add, or, and, sub, xor, cmp. */
  arithmetic(name: Arithmetic, target: Register | Memory, source: Register | Memory | Value): this {
    const code = ARITHMETIC[name]
    const wide = sizeOf(target) === 4 ? 1 : 0
    if (isMemory(source)) return this.#modRm([(code << 3) | 2 | wide], number(target as Register), source)
    if (isRegister(source)) return this.#modRm([(code << 3) | wide], number(source), target)
    return this.#modRm([0x80 | wide], code, target).#value(sizeOf(target), source)
  }

  /** Sets the flags by the bits that both have. */
  test(target: Register, source: Register): this {
    return this.#modRm([0x84 | (sizeOf(target) === 4 ? 1 : 0)], number(source), target)
  }

  shift(name: keyof typeof SHIFTS, target: Register32, count: number): this {
    return this.#modRm([0xc1], SHIFTS[name], target).data([count])
  }

  inc(target: Memory): this {
    return this.#modRm([0xff], 0, target)
  }

  dec(target: Register32): this {
    return this.#modRm([0xff], 1, target)
  }

  /** Unsigned edx:eax / source: quotient in eax, remainder in edx. */
  div(source: Register32): this {
    return this.#modRm([0xf7], 6, source)
  }

  push(source: Register32): this {
    return this.data([0x50 | number(source)])
  }

  pop(target: Register32): this {
    return this.data([0x58 | number(target)])
  }

  /** Reads from the port in dx. */
  in(target: 'al' | 'eax'): this {
    return this.data([target === 'al' ? 0xec : 0xed])
  }

  /** Writes to the port in dx. */
  out(source: 'al' | 'eax'): this {
    return this.data([source === 'al' ? 0xee : 0xef])
  }

  jmp(label: string): this {
    return this.#jump([0xe9], label)
  }

  /** Jumps to the address in a register. */
  jmpTo(target: Register32): this {
    return this.#modRm([0xff], 4, target)
  }

  /** Jumps on a condition: `j('ne', 'again')`. */
  j(condition: Condition, label: string): this {
    return this.#jump([0x0f, 0x80 | CONDITIONS[condition]], label)
  }

  call(label: string): this {
    return this.#jump([0xe8], label)
  }

  /** Loads a segment register. */
  movSegment(segment: (typeof SEGMENTS)[number], source: Register32): this {
    return this.data([0x8e, 0xc0 | (SEGMENTS.indexOf(segment) << 3) | number(source)])
  }

  /** Jumps to another code segment. */
  jmpFar(selector: number, target: Value): this {
    return this.data([0xea]).#value(4, target).#value(2, selector)
  }

  /** Loads the table of segments from its 6-byte description. */
  lgdt(description: Value): this {
    return this.data([0x0f, 0x01, 0x15]).#value(4, description)
  }

  /** Loads the table of interrupt handlers from its 6-byte description. */
  lidt(description: Value): this {
    return this.data([0x0f, 0x01, 0x1d]).#value(4, description)
  }

  /**
   * 16-bit code, as a processor runs it after SIPI: protected mode on, with a table of segments that lies below 64 KiB,
   * then to 32-bit code.
   */
  enterProtectedMode(gdtDescription: Value, selector: number, target: Value): this {
    this.op('cli').data([0x0f, 0x01, 0x16]).#value(2, gdtDescription)
    this.data([0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0]) // mov eax, cr0; or al, 1; mov cr0, eax
    return this.data([0x66]).jmpFar(selector, target)
  }

  /** The program's bytes. */
  assemble(): Uint8Array {
    const image = Uint8Array.from(this.#bytes)
    const view = new DataView(image.buffer)
    for (const { offset, size, reference, relative } of this.#fixups) {
      const base = relative ? this.origin + offset + size : 0
      const value = this.address(reference.label) + reference.plus - base
      if (size === 4) view.setUint32(offset, value >>> 0, true)
      else view.setUint16(offset, value, true)
    }
    return image
  }

  /** The address of a label. */
  address(label: string): number {
    const address = this.#labels.get(label)
    if (address === undefined) throw new Error(`there is no label ${label}`)
    return address
  }

  #value(size: 1 | 2 | 4, value: Value, relative = false): this {
    if (typeof value === 'number') {
      return this.data(Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff))
    }
    if (size === 1) throw new TypeError('an address does not fit into a byte')
    this.#fixups.push({ offset: this.#bytes.length, size, reference: value, relative })
    return this.data(new Array<number>(size).fill(0))
  }

  #jump(opcode: number[], label: string): this {
    return this.data(opcode).#value(4, at(label), true)
  }

  /** An instruction with a ModR/M byte: `field` is its register or the opcode's extension. */
  #modRm(opcode: number[], field: number, operand: Register | Memory): this {
    this.data(opcode)
    const middle = field << 3
    if (isRegister(operand)) return this.data([0xc0 | middle | number(operand)])
    const { base, displacement } = operand
    if (base === undefined) return this.data([0x05 | middle]).#value(4, displacement)
    if (base === 'esp') throw new TypeError('esp as a base is not supported')
    return this.data([0x80 | middle | number(base)]).#value(4, displacement)
  }
}
