// A PCI function as firmware and driver see it: configuration space by the ports 0xcf8 and 0xcfc, BARs, capabilities, MSI-X. It
// must not know vfio-user.
import { type Guest } from './guest.js'

const ADDRESS_PORT = 0xcf8
const DATA_PORT = 0xcfc
const ENABLE = 0x8000_0000

const COMMAND = 0x04
const BAR0 = 0x10
const CAPABILITIES = 0x34
const INTERRUPT_PIN = 0x3d
const COMMAND_IO = 1
const COMMAND_MEMORY = 2
const COMMAND_BUS_MASTER = 4

const CAPABILITY_MSIX = 0x11
const MSIX_ENTRY_BYTES = 16
const MSIX_ENABLE = 0x8000

/** Where BARs are put: below the IOAPIC, above the memory of a small machine, and what ports no device of q35 has. */
const MEMORY_START = 0xe000_0000
const PORT_START = 0xc000

/** Command register bits. */
export const ON = { io: COMMAND_IO, memory: COMMAND_MEMORY, busMaster: COMMAND_BUS_MASTER } as const

export class PciFunction {
  readonly #guest: Guest
  readonly #base: number
  #memory = MEMORY_START
  #ports = PORT_START

  constructor(guest: Guest, slot: number) {
    this.#guest = guest
    this.#base = (ENABLE | (slot << 11)) >>> 0
  }

  async #at(offset: number): Promise<number> {
    await this.#guest.out32(ADDRESS_PORT, (this.#base | (offset & 0xfc)) >>> 0)
    return DATA_PORT + (offset & 3)
  }

  async config8(offset: number): Promise<number> {
    return this.#guest.in8(await this.#at(offset))
  }

  async config16(offset: number): Promise<number> {
    return this.#guest.in16(await this.#at(offset))
  }

  async config32(offset: number): Promise<number> {
    return this.#guest.in32(await this.#at(offset))
  }

  async setConfig8(offset: number, value: number): Promise<void> {
    await this.#guest.out8(await this.#at(offset), value)
  }

  async setConfig16(offset: number, value: number): Promise<void> {
    await this.#guest.out16(await this.#at(offset), value)
  }

  async setConfig32(offset: number, value: number): Promise<void> {
    await this.#guest.out32(await this.#at(offset), value)
  }

  /** Decoding and bus mastering, on top of what is on. */
  async enable(bits: number = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER): Promise<void> {
    await this.setConfig16(COMMAND, (await this.config16(COMMAND)) | bits)
  }

  async disable(bits: number): Promise<void> {
    await this.setConfig16(COMMAND, (await this.config16(COMMAND)) & ~bits)
  }

  get pin(): Promise<number> {
    return this.config8(INTERRUPT_PIN)
  }

  /** Bytes of a BAR, as it answers all ones; 0 where there is none. A 64-bit one is sized by its lower half. */
  async barSize(index: number): Promise<number> {
    const register = BAR0 + 4 * index
    const before = await this.config32(register)
    await this.setConfig32(register, 0xffff_ffff)
    const mask = await this.config32(register)
    await this.setConfig32(register, before)
    if (mask === 0) return 0
    return (~(mask & ((mask & 1) === 1 ? 0xffff_fffc : 0xffff_fff0)) + 1) >>> 0
  }

  /** Gives a BAR an address of its own: that address. */
  async place(index: number): Promise<number> {
    const register = BAR0 + 4 * index
    const size = await this.barSize(index)
    const kind = await this.config32(register)
    const ports = (kind & 1) === 1
    const at = Math.ceil((ports ? this.#ports : this.#memory) / size) * size
    if (ports) this.#ports = at + size
    else this.#memory = at + size
    await this.setConfig32(register, at)
    if ((kind & 6) === 4) await this.setConfig32(register + 4, 0)
    return at
  }

  /** Where a capability is, by its id; undefined where there is none. */
  async capability(id: number, from = 0): Promise<number | undefined> {
    let at = await this.config8(from === 0 ? CAPABILITIES : from + 1)
    for (let steps = 0; at !== 0 && steps < 48; steps++) {
      if ((await this.config8(at)) === id) return at
      at = await this.config8(at + 1)
    }
    return undefined
  }

  /** All capabilities with that id, in order. */
  async capabilities(id: number): Promise<number[]> {
    const found: number[] = []
    for (let at = await this.capability(id); at !== undefined; at = await this.capability(id, at))
      found.push(at)
    return found
  }

  /** @param bars the addresses of the BARs that have the table */
  async msix(bars: Readonly<Record<number, number>>): Promise<Msix> {
    const at = await this.capability(CAPABILITY_MSIX)
    if (at === undefined) throw new Error('the function has no MSI-X')
    const table = await this.config32(at + 4)
    const bar = bars[table & 7]
    if (bar === undefined) throw new Error(`the MSI-X table is in BAR ${table & 7}, which has no address yet`)
    return new Msix(this.#guest, this, at, bar + (table & ~7))
  }
}

/**
 * MSI-X whose messages go to memory, not to an interrupt controller: a message is a write of its data to its address, and there the
 * test finds it.
 */
export class Msix {
  readonly #guest: Guest
  readonly #function: PciFunction
  readonly #capability: number
  readonly #table: number

  constructor(guest: Guest, of: PciFunction, capability: number, table: number) {
    this.#guest = guest
    this.#function = of
    this.#capability = capability
    this.#table = table
  }

  /** How many vectors the table has. */
  async size(): Promise<number> {
    return ((await this.#function.config16(this.#capability + 2)) & 0x7ff) + 1
  }

  async enable(on = true): Promise<void> {
    const control = await this.#function.config16(this.#capability + 2)
    await this.#function.setConfig16(
      this.#capability + 2,
      on ? control | MSIX_ENABLE : control & ~MSIX_ENABLE,
    )
  }

  /** Has a vector write `data` to a doubleword of memory. */
  async route(vector: number, address: number, data: number): Promise<void> {
    const entry = this.#table + vector * MSIX_ENTRY_BYTES
    await this.#guest.write32(entry, address)
    await this.#guest.write32(entry + 4, 0)
    await this.#guest.write32(entry + 8, data)
    await this.mask(vector, false)
  }

  async mask(vector: number, masked = true): Promise<void> {
    await this.#guest.write32(this.#table + vector * MSIX_ENTRY_BYTES + 12, masked ? 1 : 0)
  }
}
