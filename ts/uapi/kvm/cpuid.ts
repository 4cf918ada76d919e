// CPUID entries, as KVM lists them (struct kvm_cpuid_entry2).
import { array, integer, object } from '../../validate.js'

/** What the instruction CPUID answers a guest for one leaf. */
export interface CpuidEntry {
  /** The leaf (EAX on entry). */
  function: number
  /** The subleaf (ECX on entry), where SIGNIFICANT_INDEX is set. */
  index: number
  /** KVM_CPUID_FLAG_*: 1 when the subleaf matters. */
  flags: number
  eax: number
  ebx: number
  ecx: number
  edx: number
}

const SIZE = 40
const FIELDS = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'] as const

/** @internal */
export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: Math.floor(bytes.length / SIZE) }, (_, i) => {
    const field = (at: number): number => view.getUint32(i * SIZE + at * 4, true)
    return {
      function: field(0),
      index: field(1),
      flags: field(2),
      eax: field(3),
      ebx: field(4),
      ecx: field(5),
      edx: field(6),
    }
  })
}

/** @internal */
export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  array(entries, 'cpuid')
  const bytes = new Uint8Array(entries.length * SIZE)
  const view = new DataView(bytes.buffer)
  for (const [i, entry] of entries.entries()) {
    object(entry, `cpuid[${String(i)}]`)
    for (const [at, field] of FIELDS.entries()) {
      const value = integer(entry[field], `cpuid[${String(i)}].${field}`, 0, 0xffff_ffff)
      view.setUint32(i * SIZE + at * 4, value, true)
    }
  }
  return bytes
}
