// Where things lie in the address space of a PC that this package lays out: memory, the windows of the PCI bus, its configuration
// space. Numbers only; it must not know who is behind them.
import { MAX_U64, array, bigint, integer, object } from '../validate.js'

/** Part of the guest's address space. */
export interface AddressRange {
  readonly start: bigint
  readonly size: bigint
}

export interface GuestLayout {
  /** Memory from address 0 on; what does not fit below the devices goes on at 4 GiB. */
  readonly ram: readonly AddressRange[]
  /** BARs that need addresses of 32 bits. */
  readonly pci32: AddressRange
  /** BARs that may lie anywhere. */
  readonly pci64: AddressRange
  /** The configuration space of bus 0, as memory (ECAM). */
  readonly ecam: AddressRange
}

const MIB = 1n << 20n
const GIB = 1n << 30n

/** Devices begin here, and memory goes on at 4 GiB. */
const DEVICES = 3n * GIB
const HIGH_MEMORY = 4n * GIB
const ECAM = 0xe000_0000n
const PCI64_STEP = 64n * GIB

/** The two ends of what firmware leaves of the first MiB. */
export const LOW_MEMORY_END = 0x9_fc00n
export const ONE_MIB = 0x10_0000n

/** Where ACPI tables lie: in the part of the first MiB in which kernels look for them. */
export const ACPI_TABLES: AddressRange = { start: 0xe_0000n, size: 0x1_0000n }

/** Ports for BARs in I/O space. */
export const PCI_PORTS = { start: 0xc000, size: 0x4000 } as const

/**
 * Lays out a guest with so much memory.
 * @param memory bytes, 2 MiB to 1 TiB, a multiple of 4096
 */
export function layOutGuest(memory: number): GuestLayout {
  integer(memory, 'memory', 2 << 20, 2 ** 40)
  if (memory % 4096 !== 0) throw new RangeError(`memory must be a multiple of 4096, not ${String(memory)}`)
  const size = BigInt(memory)
  const low = size < DEVICES ? size : DEVICES
  const ram: AddressRange[] = [{ start: 0n, size: low }]
  if (size > low) ram.push({ start: HIGH_MEMORY, size: size - low })
  const end = HIGH_MEMORY + size - low
  return {
    ram,
    pci32: { start: DEVICES, size: ECAM - DEVICES },
    pci64: { start: ((end + PCI64_STEP - 1n) / PCI64_STEP) * PCI64_STEP, size: PCI64_STEP },
    ecam: { start: ECAM, size: MIB },
  }
}

function rangeOf(range: AddressRange, name: string): AddressRange {
  const { start, size } = object(range, name)
  bigint(start, `${name}.start`, 0n, MAX_U64)
  return { start, size: bigint(size, `${name}.size`, 1n, MAX_U64 - start) }
}

/** More pieces than a memory map has entries for. */
const MOST_PIECES = 64

/** Checks a layout, which may be its caller's own. @internal */
export function checkedLayout(layout: GuestLayout): GuestLayout {
  const { ram, pci32, pci64, ecam } = object(layout, 'layout')
  integer(array(ram, 'layout.ram').length, 'layout.ram.length', 1, MOST_PIECES)
  return {
    ram: ram.map((range, i) => rangeOf(range, `layout.ram[${i}]`)),
    pci32: rangeOf(pci32, 'layout.pci32'),
    pci64: rangeOf(pci64, 'layout.pci64'),
    ecam: rangeOf(ecam, 'layout.ecam'),
  }
}
