// Decodes base address registers, of a device's header or of its SR-IOV capability. It must not know sizes:
// those are found by writing to the register, which a VFIO user never does, because the region info has them.

import type { ConfigSpace } from './config-space.js'
import {
  PCI_BASE_ADDRESS_MEM_PREFETCH,
  PCI_BASE_ADDRESS_MEM_TYPE_1M,
  PCI_BASE_ADDRESS_MEM_TYPE_64,
  PCI_BASE_ADDRESS_MEM_TYPE_MASK,
  PCI_BASE_ADDRESS_SPACE_IO,
} from './registers.js'

/** A base address register in I/O space. */
export interface IoBar {
  readonly kind: 'io'
  /** Number of the register, 0-5. */
  readonly index: number
  /** First port. */
  readonly address: bigint
}

/** A base address register in memory space. */
export interface MemoryBar {
  readonly kind: 'memory'
  /** Number of the register, 0-5; a 64-bit BAR also takes up the number after it. */
  readonly index: number
  /** Bus address of the first byte; 0 where nothing has been assigned. */
  readonly address: bigint
  readonly is64Bit: boolean
  readonly prefetchable: boolean
  /** The obsolete type that has to sit in the first MiB (`PCI_BASE_ADDRESS_MEM_TYPE_1M`). */
  readonly below1M: boolean
}

/** A base address register, as its raw bits say. */
export type PciBar = IoBar | MemoryBar

/**
 * Reads `count` base address registers from `offset`. Registers that read 0 are left out: an absent BAR and a
 * 32-bit memory BAR without an address look the same. A 64-bit BAR in the last register has no upper half: it
 * is given with the lower one alone.
 */
export function readBars(config: Pick<ConfigSpace, 'read32'>, offset: number, count: number): PciBar[] {
  const bars: PciBar[] = []
  for (let index = 0; index < count; index++) {
    const low = config.read32(offset + 4 * index)
    if (low === 0) continue
    if ((low & PCI_BASE_ADDRESS_SPACE_IO) !== 0) {
      bars.push({ kind: 'io', index, address: BigInt((low & ~0x3) >>> 0) })
      continue
    }
    const type = low & PCI_BASE_ADDRESS_MEM_TYPE_MASK
    const is64Bit = type === PCI_BASE_ADDRESS_MEM_TYPE_64
    const high = is64Bit && index + 1 < count ? config.read32(offset + 4 * (index + 1)) : 0
    bars.push({
      kind: 'memory',
      index,
      address: (BigInt(high) << 32n) | BigInt((low & ~0xf) >>> 0),
      is64Bit,
      prefetchable: (low & PCI_BASE_ADDRESS_MEM_PREFETCH) !== 0,
      below1M: type === PCI_BASE_ADDRESS_MEM_TYPE_1M,
    })
    if (is64Bit) index++
  }
  return bars
}
