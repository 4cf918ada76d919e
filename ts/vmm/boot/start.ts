// What is loaded, and how what was loaded is started.
import type { MemoryMapEntry } from './memory-map.js'

/** How to start what was loaded: in 32-bit code with flat segments. */
export interface Start {
  /** The address of the first instruction. */
  readonly entry: number
  /** Registers that point the kernel to its parameters. */
  readonly registers: { readonly rsi?: bigint; readonly rbx?: bigint }
}

/** What a loader is given. */
export interface Kernel {
  readonly file: Uint8Array
  readonly initrd: Uint8Array | undefined
  readonly cmdline: string
  readonly map: readonly MemoryMapEntry[]
  /** Where the root pointer of the ACPI tables is; 0 for nowhere. */
  readonly acpi: bigint
}

/** Page 7: parameters, below everything that a kernel moves. */
export const PARAMETERS = 0x7000
export const PARAMETERS_BYTES = 0x1000
