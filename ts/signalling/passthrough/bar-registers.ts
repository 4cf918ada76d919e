// BarRegisters: the base address registers that a guest sizes and sets. Pure arithmetic on registers; where a BAR's
// memory then goes is not its business.
import * as regs from '../../pci/registers.js'
import type { ConfigRegisters } from './config-registers.js'

/** A BAR of the device, as its own header and VFIO's region describe it. */
export interface BarDescription {
  /** Number of the register, 0 to 5; a 64-bit BAR also takes up the number after it. */
  readonly index: number
  readonly kind: 'memory' | 'io'
  readonly is64Bit: boolean
  readonly prefetchable: boolean
  /** Bytes of the region behind it; the BAR decodes the next power of two. */
  readonly size: number
}

const LAST = 5
const LEAST_MEMORY = 16
const LEAST_IO = 4
const IO_FLAGS = 0x3
const MEMORY_FLAGS = 0xf
const LEAST_ROM = 2048
const DWORD = 2 ** 32

function powerOfTwo(size: number, least: number): number {
  let power = least
  while (power < size) power *= 2
  return power
}

function registerOf(index: number): number {
  return regs.PCI_BASE_ADDRESS_0 + 4 * index
}

/**
 * Finds the BARs of a device.
 * @param config the device's own header
 * @param sizeOf the size of a BAR's region, 0 for none
 */
export function describeBars(
  config: { read32(offset: number): number },
  sizeOf: (index: number) => number,
): BarDescription[] {
  const bars: BarDescription[] = []
  for (let index = 0; index <= LAST; index++) {
    const size = sizeOf(index)
    if (size === 0) continue
    const raw = config.read32(registerOf(index))
    if ((raw & regs.PCI_BASE_ADDRESS_SPACE_IO) !== 0) {
      bars.push({ index, kind: 'io', is64Bit: false, prefetchable: false, size })
      continue
    }
    const is64Bit =
      index < LAST && (raw & regs.PCI_BASE_ADDRESS_MEM_TYPE_MASK) === regs.PCI_BASE_ADDRESS_MEM_TYPE_64
    const prefetchable = (raw & regs.PCI_BASE_ADDRESS_MEM_PREFETCH) !== 0
    bars.push({ index, kind: 'memory', is64Bit, prefetchable, size })
    if (is64Bit) index++
  }
  return bars
}

/** One BAR's registers in the guest's configuration space. */
export class BarRegister {
  readonly description: BarDescription
  /** Bytes that it decodes, a power of two. */
  readonly decoded: number
  readonly #registers: ConfigRegisters

  /** @param onWrite called after the guest wrote to it */
  constructor(registers: ConfigRegisters, description: BarDescription, onWrite: (bar: BarRegister) => void) {
    this.#registers = registers
    this.description = description
    const { index, kind, is64Bit, prefetchable, size } = description
    this.decoded = powerOfTwo(size, kind === 'io' ? LEAST_IO : LEAST_MEMORY)
    const flags =
      kind === 'io'
        ? regs.PCI_BASE_ADDRESS_SPACE_IO
        : (is64Bit ? regs.PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
          (prefetchable ? regs.PCI_BASE_ADDRESS_MEM_PREFETCH : 0)
    // The bits below the size are wired to zero: that is how a guest learns the size.
    const low = this.decoded >= DWORD ? 0 : DWORD - this.decoded
    const fixed = kind === 'io' ? IO_FLAGS : MEMORY_FLAGS
    this.#define(index, (low & ~fixed) >>> 0, flags, onWrite)
    if (is64Bit) {
      const high = this.decoded > DWORD ? DWORD - this.decoded / DWORD : DWORD - 1
      this.#define(index + 1, high, 0, onWrite)
    }
  }

  /** Where the guest put it; 0 when nowhere. */
  get address(): bigint {
    const { index, kind, is64Bit } = this.description
    const low = this.#registers.get(registerOf(index), 4)
    const high = is64Bit ? this.#registers.get(registerOf(index + 1), 4) : 0
    const flags = kind === 'io' ? IO_FLAGS : MEMORY_FLAGS
    return (BigInt(high) << 32n) | BigInt((low & ~flags) >>> 0)
  }

  /** Forgets where it was, as a reset does. */
  clear(): void {
    const { index, kind, is64Bit } = this.description
    const fixed = kind === 'io' ? IO_FLAGS : MEMORY_FLAGS
    this.#registers.set(registerOf(index), 4, this.#registers.get(registerOf(index), 4) & fixed)
    if (is64Bit) this.#registers.set(registerOf(index + 1), 4, 0)
  }

  #define(index: number, writable: number, value: number, onWrite: (bar: BarRegister) => void): void {
    this.#registers.define(registerOf(index), 4, { virtual: 0xffff_ffff, value, writable })
    this.#registers.hook(registerOf(index), 4, (_value, _previous, commit) => {
      commit()
      onWrite(this)
    })
  }
}

/** The expansion ROM's register. */
export class RomRegister {
  /** Bytes that it decodes, a power of two. */
  readonly decoded: number
  readonly #registers: ConfigRegisters

  constructor(registers: ConfigRegisters, size: number, onWrite: () => void) {
    this.#registers = registers
    this.decoded = powerOfTwo(size, LEAST_ROM)
    const writable = ((DWORD - this.decoded) | regs.PCI_ROM_ADDRESS_ENABLE) >>> 0
    registers.define(regs.PCI_ROM_ADDRESS, 4, { virtual: 0xffff_ffff, writable })
    registers.hook(regs.PCI_ROM_ADDRESS, 4, (_value, _previous, commit) => {
      commit()
      onWrite()
    })
  }

  get enabled(): boolean {
    return (this.#registers.get(regs.PCI_ROM_ADDRESS, 4) & regs.PCI_ROM_ADDRESS_ENABLE) !== 0
  }

  /** Where the guest put it; 0 when nowhere. */
  get address(): bigint {
    return BigInt((this.#registers.get(regs.PCI_ROM_ADDRESS, 4) & ~regs.PCI_ROM_ADDRESS_ENABLE) >>> 0)
  }

  clear(): void {
    this.#registers.set(regs.PCI_ROM_ADDRESS, 4, 0)
  }
}
