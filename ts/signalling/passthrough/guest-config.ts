// GuestConfig: the configuration space that a guest sees of a device, put together from its parts. Knows what follows from
// a write in which order; does none of it.
import type { MsiCapability, MsixCapability } from '../../pci/capabilities.js'
import type { PciConfig } from '../../pci/config.js'
import * as regs from '../../pci/registers.js'
import { type BarDescription, BarRegister, RomRegister, describeBars } from './bar-registers.js'
import { type HideCapability, showCapabilities } from './capabilities.js'
import { ConfigRegisters } from './config-registers.js'
import { MsiCapabilityRegisters } from './msi-capability.js'
import { MsixTable } from './msix-table.js'

/** The two kinds of messages. */
export type MessageKind = 'msi' | 'msix'

/** What a write can lead to. */
export interface GuestConfigEvents {
  /**
   * BARs may have moved, or begun or ceased to decode. Where they cease this comes before the device learns of it, else
   * after.
   */
  place(): void
  /** The guest changed a vector, or (null) any of them or whether they are on. */
  messages(kind: MessageKind, vector: number | null): void
  /** Whether a vector that the guest masks has an interrupt waiting. */
  pending(kind: MessageKind, vector: number): boolean
}

export interface GuestConfigOptions {
  /** Sizes of the regions by BAR number, and of the ROM; 0 for none. */
  barSize(index: number): number
  romSize: number
  hide: HideCapability
  /** What the interrupt line register says at first; null hides the INTx pin. */
  interruptLine: number | null
}

const D0 = 0
const CARDBUS_CIS = 0x28
const LINE_UNKNOWN = 255

export class GuestConfig {
  readonly bars: readonly BarRegister[]
  readonly rom: RomRegister | null
  readonly msi: MsiCapabilityRegisters | null
  readonly msix: MsixTable | null
  readonly msixCapability: MsixCapability | null
  readonly #config: PciConfig
  readonly #registers: ConfigRegisters
  readonly #events: GuestConfigEvents
  #command = 0
  #power = D0

  constructor(config: PciConfig, options: GuestConfigOptions, events: GuestConfigEvents) {
    this.#config = config
    this.#events = events
    const registers = new ConfigRegisters(config.space)
    this.#registers = registers
    const shown = showCapabilities(registers, config, options.hide, {
      power: (state, commit) => {
        const slept = this.#power !== D0
        this.#decode(this.#command, state, commit)
        if (slept && state === D0) this.#wake()
      },
      reset: (commit) => {
        this.clear()
        commit()
        this.#config.command.raw = 0
      },
    })
    this.#defineHeader(options)
    const placed = (): void => {
      events.place()
    }
    this.bars = describeBars(config.space, (index) => options.barSize(index)).map(
      (description: BarDescription) => new BarRegister(registers, description, placed),
    )
    this.rom = options.romSize > 0 ? new RomRegister(registers, options.romSize, placed) : null
    const msi = shown.find((capability): capability is MsiCapability => capability.name === 'msi')
    this.msi =
      msi === undefined
        ? null
        : new MsiCapabilityRegisters(
            registers,
            msi,
            () => {
              events.messages('msi', null)
            },
            (vector) => events.pending('msi', vector),
          )
    const msix = shown.find((capability): capability is MsixCapability => capability.name === 'msix')
    this.msixCapability = msix ?? null
    this.msix =
      msix === undefined
        ? null
        : new MsixTable(
            registers,
            msix,
            (vector) => {
              events.messages('msix', vector)
            },
            (vector) => events.pending('msix', vector),
          )
  }

  /** Bytes: 256 or 4096. */
  get size(): number {
    return this.#registers.size
  }

  /** What the guest reads; beyond the end, all ones. */
  read(offset: number, width: number): number {
    return this.#registers.read(offset, width)
  }

  /** What the guest writes; beyond the end it goes nowhere. */
  write(offset: number, width: number, value: number): void {
    this.#registers.write(offset, width, value)
  }

  /** Where a BAR answers; null while it does not. */
  addressOf(bar: BarRegister): bigint | null {
    const space = bar.description.kind === 'io' ? regs.PCI_COMMAND_IO : regs.PCI_COMMAND_MEMORY
    return this.#decodes(space) && bar.address !== 0n ? bar.address : null
  }

  /** Where the ROM answers; null while it does not. */
  get romAddress(): bigint | null {
    const { rom } = this
    if (rom === null || !this.#decodes(regs.PCI_COMMAND_MEMORY)) return null
    return rom.enabled && rom.address !== 0n ? rom.address : null
  }

  /** The registers as after power-up, the device's own apart. */
  clear(): void {
    this.#command = 0
    this.#power = D0
    for (const bar of this.bars) bar.clear()
    this.rom?.clear()
    this.#events.place()
    if (this.msi !== null) {
      this.msi.clear()
      this.#events.messages('msi', null)
    }
    if (this.msix !== null) {
      this.msix.clear()
      this.#events.messages('msix', null)
    }
  }

  /** The kernel turns no messages on for a device that sleeps: those that the guest wanted meanwhile come now. */
  #wake(): void {
    if (this.msi?.enabled === true) this.#events.messages('msi', null)
    if (this.msix?.enabled === true) this.#events.messages('msix', null)
  }

  #decodes(space: number): boolean {
    return this.#power === D0 && (this.#command & space) !== 0
  }

  #defineHeader({ interruptLine }: GuestConfigOptions): void {
    const registers = this.#registers
    registers.define(regs.PCI_COMMAND, 2, { writable: 0xffff })
    registers.hook(regs.PCI_COMMAND, 2, (value, _previous, commit) => {
      this.#decode(value, this.#power, commit)
    })
    registers.define(regs.PCI_CACHE_LINE_SIZE, 1, { virtual: 0xff, writable: 0xff })
    registers.define(regs.PCI_LATENCY_TIMER, 1, { virtual: 0xff, writable: 0xff })
    // The guest gets one function, whatever is beside it on the host.
    registers.define(regs.PCI_HEADER_TYPE, 1, { virtual: regs.PCI_HEADER_TYPE_MFD })
    registers.hide(regs.PCI_BIST, 1)
    registers.hide(regs.PCI_BASE_ADDRESS_0, CARDBUS_CIS + 4 - regs.PCI_BASE_ADDRESS_0)
    registers.hide(regs.PCI_ROM_ADDRESS, 4)
    registers.define(regs.PCI_INTERRUPT_LINE, 1, {
      virtual: 0xff,
      value: interruptLine ?? LINE_UNKNOWN,
      writable: 0xff,
    })
    if (interruptLine === null) registers.hide(regs.PCI_INTERRUPT_PIN, 1)
  }

  /** Takes over what decides whether the BARs answer, on the right side of the write. */
  #decode(command: number, power: number, commit: () => void): void {
    const decoded = this.#decodes(regs.PCI_COMMAND_MEMORY)
    this.#command = command
    this.#power = power
    // Through a mapped BAR that no longer answers, a guest's access would end KVM_RUN with EFAULT.
    if (decoded && !this.#decodes(regs.PCI_COMMAND_MEMORY)) this.#events.place()
    commit()
    this.#events.place()
  }
}
