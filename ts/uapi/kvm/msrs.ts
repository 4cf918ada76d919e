// Model-specific registers as KVM lists them (struct kvm_msr_entry, struct kvm_msr_filter), and the numbers of those that a
// VMM sets. Pure.
import { MAX_U64, array, bigint, boolean, bytes as bytesOf, integer, object } from '../../validate.js'
import { viewOf } from './fields.js'

/** A model-specific register and its value. */
export interface MsrEntry {
  /** Its number, as ECX of RDMSR has it. */
  index: number
  value: bigint
}

/** The numbers of registers that a VMM sets or saves. Any other goes by its number. */
export const MSR = {
  TSC: 0x10,
  APIC_BASE: 0x1b,
  FEATURE_CONTROL: 0x3a,
  TSC_ADJUST: 0x3b,
  SPEC_CTRL: 0x48,
  ARCH_CAPABILITIES: 0x10a,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  MISC_ENABLE: 0x1a0,
  PAT: 0x277,
  MTRR_DEF_TYPE: 0x2ff,
  TSC_DEADLINE: 0x6e0,
  EFER: 0xc000_0080,
  STAR: 0xc000_0081,
  LSTAR: 0xc000_0082,
  CSTAR: 0xc000_0083,
  SYSCALL_MASK: 0xc000_0084,
  FS_BASE: 0xc000_0100,
  GS_BASE: 0xc000_0101,
  KERNEL_GS_BASE: 0xc000_0102,
  TSC_AUX: 0xc000_0103,
  KVM_WALL_CLOCK: 0x4b56_4d00,
  KVM_SYSTEM_TIME: 0x4b56_4d01,
} as const

const SIZE = 16

/** Bits of MTRRdefType. */
const MTRR_ENABLED = 1n << 11n
const WRITE_BACK = 6n

/**
 * The memory types that firmware leaves behind: MTRRs on, and all memory write-back unless a guest's page table says
 * otherwise. A guest that starts without firmware needs them: at reset MTRRs are off, which makes all memory uncached. Where
 * KVM follows the guest's MTRRs (memory of a device that is passed through), that is slower by orders of magnitude.
 */
export function firmwareMtrrs(): MsrEntry[] {
  return [{ index: MSR.MTRR_DEF_TYPE, value: MTRR_ENABLED | WRITE_BACK }]
}

/** @internal */
export function decodeMsrIndices(bytes: Uint8Array): number[] {
  const view = viewOf(bytes)
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => view.getUint32(i * 4, true))
}

/** @internal */
export function decodeMsrs(bytes: Uint8Array): MsrEntry[] {
  const view = viewOf(bytes)
  return Array.from({ length: Math.floor(bytes.length / SIZE) }, (_, i) => ({
    index: view.getUint32(i * SIZE, true),
    value: view.getBigUint64(i * SIZE + 8, true),
  }))
}

/** @internal */
export function encodeMsrs(entries: readonly MsrEntry[]): Uint8Array {
  const bytes = new Uint8Array(array(entries, 'entries').length * SIZE)
  const view = viewOf(bytes)
  for (const [i, entry] of entries.entries()) {
    const { index, value } = object(entry, `entries[${String(i)}]`)
    view.setUint32(i * SIZE, integer(index, `entries[${String(i)}].index`, 0, 0xffff_ffff), true)
    view.setBigUint64(i * SIZE + 8, bigint(value, `entries[${String(i)}].value`, 0n, MAX_U64), true)
  }
  return bytes
}

/** Registers of a filter that lie next to each other. */
export interface MsrFilterRange {
  /** The number of the first. */
  base: number
  /** A bit per register, the first in bit 0 of byte 0: 1 allows the guest what is named here, 0 denies it. 1 to 1536 bytes. */
  bitmap: Uint8Array
  /** The range is about reading. Default true. */
  read?: boolean
  /** The range is about writing. Default true. */
  write?: boolean
}

const READ = 1
const WRITE = 2
const MOST_RANGES = 16
const MOST_BYTES = 1536

/** Flags, base and bitmap of each range, flat, as the addon takes them. @internal */
export function flatMsrRanges(ranges: readonly MsrFilterRange[]): (number | Uint8Array)[] {
  if (array(ranges, 'ranges').length > MOST_RANGES) {
    throw new RangeError(`ranges must be at most ${String(MOST_RANGES)}, not ${String(ranges.length)}`)
  }
  return ranges.flatMap((range, i) => {
    const name = `ranges[${String(i)}]`
    const { base, bitmap, read = true, write = true } = object(range, name)
    const bits = bytesOf(bitmap, `${name}.bitmap`)
    integer(bits.length, `${name}.bitmap.length`, 1, MOST_BYTES)
    integer(base, `${name}.base`, 0, 2 ** 32 - bits.length * 8)
    const flags = (boolean(read, `${name}.read`) ? READ : 0) | (boolean(write, `${name}.write`) ? WRITE : 0)
    if (flags === 0) throw new RangeError(`${name} must be about reading, writing or both`)
    return [flags, base, bits]
  })
}
