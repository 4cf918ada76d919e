// What a device of ACPI uses (ACPI 6.5, section 6.4): ports, memory, interrupts, and the windows of a bridge. Descriptors of bytes;
// it must not know which devices there are.
import type { AddressRange } from '../layout.js'
import { type Term, buffer } from './aml.js'
import { joined, little } from './bytes.js'

/** One descriptor. */
export type Resource = Uint8Array

const SPACE = { memory: 0, io: 1, bus: 2 } as const
/** Both ends are where they are. */
const FIXED = 0x0c
const READ_WRITE = 1
const ENTIRE_RANGE = 3
const END = [0x79, 0] as const

/** Ports of a device. */
export function ports(first: number, count: number): Resource {
  return joined(0x47, 1, little(2, first), little(2, first), 1, count)
}

/** An interrupt of the ISA bus: an edge, not shared. */
export function isaInterrupt(irq: number): Resource {
  return joined(0x22, little(2, 1 << irq))
}

/** Memory of a device, below 4 GiB. */
export function memory32({ start, size }: AddressRange): Resource {
  return joined(0x86, little(2, 9), READ_WRITE, little(4, start), little(4, size))
}

type Width = 2 | 4 | 8
const WINDOW_TAG: Readonly<Record<Width, number>> = { 2: 0x88, 4: 0x87, 8: 0x8a }

/** An address space descriptor: granularity, both ends, offset, length. */
function window(width: Width, space: number, flags: number, { start, size }: AddressRange): Resource {
  const fields = [0n, start, start + size - 1n, 0n, size].map((field) => little(width, field))
  return joined(WINDOW_TAG[width], little(2, 3 + 5 * width), space, FIXED, flags, ...fields)
}

/** Numbers of buses behind a bridge. */
export function busWindow(first: number, count: number): Resource {
  return window(2, SPACE.bus, 0, { start: BigInt(first), size: BigInt(count) })
}

/** Ports that a bridge passes on. */
export function portWindow(first: number, count: number): Resource {
  return window(2, SPACE.io, ENTIRE_RANGE, { start: BigInt(first), size: BigInt(count) })
}

/** Addresses that a bridge passes on, below 4 GiB. */
export function memoryWindow32(range: AddressRange): Resource {
  return window(4, SPACE.memory, READ_WRITE, range)
}

export function memoryWindow64(range: AddressRange): Resource {
  return window(8, SPACE.memory, READ_WRITE, range)
}

/** What `_CRS` gives. */
export function resourceTemplate(...resources: readonly Resource[]): Term {
  return buffer(joined(...resources, ...END))
}
