// The scalar accesses of regions, the hottest path there is. Arguments and result go through memory that the addon shares,
// and one function per kind serves all regions: Node-API then converts nothing, and V8 calls the function directly. Types
// and values are checked here, offsets by the addon, against the region.
import { addon, type NativeHandle, type RegisterAccessors } from '../../native/index.js'
import { bigint, integer, MAX_U64 } from '../../validate.js'

// The layout is that of Exchange in native/memory/accessors.h.
const exchange = new ArrayBuffer(24)
const words = new Uint32Array(exchange)
const longWords = new BigUint64Array(exchange)
const REGION = 0
const GENERATION = 1
const OFFSET = 2
const OFFSET_HIGH = 3
const WORD = 4
const LONG_WORD = 2

let made: RegisterAccessors | undefined

function functions(): RegisterAccessors {
  return (made ??= addon().registersAccessors(exchange))
}

/**
 * Names the register. The usual offset is a small integer, for which this is a few instructions: what the types of values
 * were tells V8 the answer of `typeof`, which is there so that nothing else is ever shifted.
 */
function name(region: number, generation: number, offset: number): void {
  words[REGION] = region
  words[GENERATION] = generation
  if (typeof offset === 'number' && offset === offset >>> 0) {
    words[OFFSET] = offset
    words[OFFSET_HIGH] = 0
  } else {
    integer(offset, 'offset', 0, Number.MAX_SAFE_INTEGER)
    words[OFFSET] = offset % 2 ** 32
    words[OFFSET_HIGH] = offset / 2 ** 32
  }
}

function put(value: number, most: number): void {
  if (typeof value !== 'number' || value !== value >>> 0 || value > most) integer(value, 'value', 0, most)
  words[WORD] = value
}

function putLong(value: bigint): void {
  longWords[LONG_WORD] = bigint(value, 'value', 0n, MAX_U64)
}

/** The accesses of one region. */
export class Accessors {
  readonly #region: number
  readonly #generation: number
  // With an initial value, a field that never changes is a constant for V8; set in the constructor, it is a variable.
  readonly #native = functions()

  constructor(registers: NativeHandle) {
    ;[this.#region, this.#generation] = this.#native.enter(registers)
  }

  read8(offset: number): number {
    name(this.#region, this.#generation, offset)
    this.#native.read8()
    return words[WORD] as number
  }

  read16(offset: number): number {
    name(this.#region, this.#generation, offset)
    this.#native.read16()
    return words[WORD] as number
  }

  read32(offset: number): number {
    name(this.#region, this.#generation, offset)
    this.#native.read32()
    return words[WORD] as number
  }

  read64(offset: number): bigint {
    name(this.#region, this.#generation, offset)
    this.#native.read64()
    return longWords[LONG_WORD] as bigint
  }

  read8Relaxed(offset: number): number {
    name(this.#region, this.#generation, offset)
    this.#native.read8Relaxed()
    return words[WORD] as number
  }

  read16Relaxed(offset: number): number {
    name(this.#region, this.#generation, offset)
    this.#native.read16Relaxed()
    return words[WORD] as number
  }

  read32Relaxed(offset: number): number {
    name(this.#region, this.#generation, offset)
    this.#native.read32Relaxed()
    return words[WORD] as number
  }

  read64Relaxed(offset: number): bigint {
    name(this.#region, this.#generation, offset)
    this.#native.read64Relaxed()
    return longWords[LONG_WORD] as bigint
  }

  write8(offset: number, value: number): void {
    name(this.#region, this.#generation, offset)
    put(value, 0xff)
    this.#native.write8()
  }

  write16(offset: number, value: number): void {
    name(this.#region, this.#generation, offset)
    put(value, 0xffff)
    this.#native.write16()
  }

  write32(offset: number, value: number): void {
    name(this.#region, this.#generation, offset)
    put(value, 0xffff_ffff)
    this.#native.write32()
  }

  write64(offset: number, value: bigint): void {
    name(this.#region, this.#generation, offset)
    putLong(value)
    this.#native.write64()
  }

  write8Relaxed(offset: number, value: number): void {
    name(this.#region, this.#generation, offset)
    put(value, 0xff)
    this.#native.write8Relaxed()
  }

  write16Relaxed(offset: number, value: number): void {
    name(this.#region, this.#generation, offset)
    put(value, 0xffff)
    this.#native.write16Relaxed()
  }

  write32Relaxed(offset: number, value: number): void {
    name(this.#region, this.#generation, offset)
    put(value, 0xffff_ffff)
    this.#native.write32Relaxed()
  }

  write64Relaxed(offset: number, value: bigint): void {
    name(this.#region, this.#generation, offset)
    putLong(value)
    this.#native.write64Relaxed()
  }
}
