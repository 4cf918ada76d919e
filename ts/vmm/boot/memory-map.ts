// What of a guest's address space is memory, as firmware tells it to a kernel (e820). Numbers only.
import { ACPI_TABLES, type AddressRange, type GuestLayout, LOW_MEMORY_END, ONE_MIB } from '../layout.js'

const KIND = { ram: 1, reserved: 2, acpi: 3 } as const

export interface MemoryMapEntry extends AddressRange {
  /** 1 for memory, 2 for what is taken, 3 for tables of ACPI. */
  readonly kind: number
}

/** The map, by ascending address. */
export function memoryMap({ ram, ecam }: GuestLayout): MemoryMapEntry[] {
  const [low, ...high] = ram
  const lowEnd = low === undefined ? 0n : low.start + low.size
  return [
    { start: 0n, size: LOW_MEMORY_END, kind: KIND.ram },
    // What firmware would keep for itself.
    { start: LOW_MEMORY_END, size: 0xa_0000n - LOW_MEMORY_END, kind: KIND.reserved },
    { ...ACPI_TABLES, kind: KIND.acpi },
    { start: 0xf_0000n, size: ONE_MIB - 0xf_0000n, kind: KIND.reserved },
    { start: ONE_MIB, size: lowEnd - ONE_MIB, kind: KIND.ram },
    { ...ecam, kind: KIND.reserved },
    ...high.map((range) => ({ ...range, kind: KIND.ram })),
  ]
}
