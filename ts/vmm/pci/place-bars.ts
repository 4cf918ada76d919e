// Places the BARs of a bus as firmware does, for a guest that has none: sizes them, gives each an address in its window, and turns
// decoding on. Works by configuration accesses alone, so that it is the same for every kind of function.
import * as regs from '../../pci/registers.js'
import { array, object } from '../../validate.js'
import { type GuestLayout, PCI_PORTS, checkedLayout } from '../layout.js'
import type { PciFunction, PluggedFunction } from './function.js'
import { lineOf } from './lines.js'

type Kind = 'io' | 'memory32' | 'memory64'

interface Bar {
  readonly pciFunction: PciFunction
  readonly index: number
  readonly kind: Kind
  readonly size: bigint
}

const BARS = 6
const ALL_ONES = 0xffff_ffff
const IO_MASK = 0xffff_fffc
const MEMORY_MASK = 0xffff_fff0
const HEADER_TYPE = 0x0e
const HEADER_KIND = 0x7f

/** Addresses that are given away from the lowest on. */
class Window {
  readonly #name: string
  readonly #end: bigint
  #next: bigint

  constructor(name: string, { start, size }: { start: bigint; size: bigint }) {
    this.#name = name
    this.#next = start
    this.#end = start + size
  }

  take(size: bigint): bigint {
    const address = ((this.#next + size - 1n) / size) * size
    if (address + size > this.#end)
      throw new RangeError(`${this.#name} has no room for a BAR of 0x${size.toString(16)} bytes`)
    this.#next = address + size
    return address
  }
}

/** What a BAR answers to all ones: the bits that can be written. It is 0 afterwards. */
function mask(pciFunction: PciFunction, register: number): number {
  pciFunction.writeConfig(register, 4, ALL_ONES)
  const value = pciFunction.readConfig(register, 4)
  pciFunction.writeConfig(register, 4, 0)
  return value
}

/** The lowest bit that can be written is the size. */
const sizeOf = (bits: bigint): bigint => bits & -bits

function barsOf(pciFunction: PciFunction): Bar[] {
  const bars: Bar[] = []
  for (let index = 0; index < BARS; index++) {
    const register = regs.PCI_BASE_ADDRESS_0 + 4 * index
    const low = mask(pciFunction, register)
    if ((low & regs.PCI_BASE_ADDRESS_SPACE_IO) !== 0) {
      const bits = (low & IO_MASK) >>> 0
      if (bits !== 0) bars.push({ pciFunction, index, kind: 'io', size: sizeOf(BigInt(bits)) })
      continue
    }
    const wide = (low & regs.PCI_BASE_ADDRESS_MEM_TYPE_MASK) === regs.PCI_BASE_ADDRESS_MEM_TYPE_64
    const high = wide && index + 1 < BARS ? mask(pciFunction, register + 4) >>> 0 : 0
    const bits = (BigInt(high) << 32n) | BigInt((low & MEMORY_MASK) >>> 0)
    if (bits !== 0n)
      bars.push({ pciFunction, index, kind: wide ? 'memory64' : 'memory32', size: sizeOf(bits) })
    if (wide) index++
  }
  return bars
}

function setBar({ pciFunction, index, kind }: Bar, address: bigint): void {
  const register = regs.PCI_BASE_ADDRESS_0 + 4 * index
  pciFunction.writeConfig(register, 4, Number(address & 0xffff_ffffn))
  if (kind === 'memory64') pciFunction.writeConfig(register + 4, 4, Number(address >> 32n))
}

/**
 * Gives every BAR of the functions an address, lets them decode it, and writes down their interrupt lines. Bridges are left alone.
 * @throws RangeError when a window has no room
 */
export function placeBars(functions: readonly PluggedFunction[], layout: GuestLayout): void {
  const { pci32, pci64 } = checkedLayout(layout)
  array(functions, 'functions').forEach((each, i) => {
    object(object(each, `functions[${i}]`).pciFunction, `functions[${i}].pciFunction`)
  })
  const endpoints = functions.filter(
    ({ pciFunction }) => (pciFunction.readConfig(HEADER_TYPE, 1) & HEADER_KIND) === 0,
  )
  for (const { pciFunction } of endpoints) pciFunction.writeConfig(regs.PCI_COMMAND, 2, 0)
  const windows: Record<Kind, Window> = {
    io: new Window('I/O space', { start: BigInt(PCI_PORTS.start), size: BigInt(PCI_PORTS.size) }),
    memory32: new Window('memory below 4 GiB', pci32),
    memory64: new Window('memory above 4 GiB', pci64),
  }
  const commands = new Map<PciFunction, number>()
  const bars = endpoints.flatMap(({ pciFunction }) => barsOf(pciFunction))
  // The largest first: nothing is lost to alignment.
  for (const bar of bars.sort((a, b) => (a.size < b.size ? 1 : a.size > b.size ? -1 : 0))) {
    setBar(bar, windows[bar.kind].take(bar.size))
    const decode = bar.kind === 'io' ? regs.PCI_COMMAND_IO : regs.PCI_COMMAND_MEMORY
    commands.set(bar.pciFunction, (commands.get(bar.pciFunction) ?? 0) | decode)
  }
  for (const { pciFunction, slot } of endpoints) {
    pciFunction.writeConfig(regs.PCI_COMMAND, 2, commands.get(pciFunction) ?? 0)
    const pin = pciFunction.readConfig(regs.PCI_INTERRUPT_PIN, 1)
    if (pin >= 1 && pin <= 4) pciFunction.writeConfig(regs.PCI_INTERRUPT_LINE, 1, lineOf(slot, pin))
  }
}
