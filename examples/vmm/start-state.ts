// Where a boot loader leaves a processor: in 32-bit code with flat segments, without paging, interrupts off. Values for the
// registers of a vCPU.

const FLAT = {
  base: 0n,
  limit: 0xffff_ffff,
  present: true,
  dpl: 0,
  db: true,
  s: true,
  l: false,
  g: true,
  avl: false,
  unusable: false,
}
const CODE = { ...FLAT, selector: 8, type: 11 }
const DATA = { ...FLAT, selector: 16, type: 3 }

const PROTECTED_MODE = 1n
/** The bit of the flags that is always set. */
const RESERVED_FLAG = 2n

/** Special registers, from what CR0 is after reset. */
export function startSpecialRegisters(
  cr0: bigint,
): Record<'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss', typeof CODE> & { cr0: bigint } {
  return { cs: CODE, ds: DATA, es: DATA, fs: DATA, gs: DATA, ss: DATA, cr0: cr0 | PROTECTED_MODE }
}

/** General registers. */
export function startRegisters(entry: number): { rip: bigint; rflags: bigint } {
  return { rip: BigInt(entry), rflags: RESERVED_FLAG }
}
