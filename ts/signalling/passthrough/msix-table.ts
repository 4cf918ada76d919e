// MsixTable: the MSI-X table, its pending bits and its capability's control as the guest programs them. Pure: what becomes
// of its messages is not its business.
import type { MsiMessage } from '../../kvm/index.js'
import type { MsixCapability } from '../../pci/capabilities.js'
import * as regs from '../../pci/registers.js'
import type { ConfigRegisters } from './config-registers.js'
import type { MessageSource } from './msi-capability.js'

const ADDRESS = 0
const DATA = 8
const CONTROL = 12
const MASKED = 1

/** What a write to the table changed: one vector, or (null) all of them. */
export type MsixChange = (vector: number | null) => void

export class MsixTable implements MessageSource {
  /** Vectors in the table. */
  readonly count: number
  readonly #registers: ConfigRegisters
  readonly #flags: number
  readonly #entries: DataView
  readonly #onChange: MsixChange
  readonly #pending: (vector: number) => boolean

  /**
   * @param onChange called after the guest changed something
   * @param pending whether a masked vector has an interrupt waiting
   */
  constructor(
    registers: ConfigRegisters,
    capability: MsixCapability,
    onChange: MsixChange,
    pending: (vector: number) => boolean,
  ) {
    this.count = capability.tableSize
    this.#registers = registers
    this.#flags = capability.offset + regs.PCI_MSIX_FLAGS
    this.#entries = new DataView(new ArrayBuffer(this.count * regs.PCI_MSIX_ENTRY_SIZE))
    this.#onChange = onChange
    this.#pending = pending
    registers.define(this.#flags, 2, {
      virtual: 0xffff,
      value: this.count - 1,
      writable: regs.PCI_MSIX_FLAGS_ENABLE | regs.PCI_MSIX_FLAGS_MASKALL,
    })
    registers.hook(this.#flags, 2, (_value, _previous, commit) => {
      commit()
      onChange(null)
    })
    this.clear()
  }

  get enabled(): boolean {
    return (this.#registers.get(this.#flags, 2) & regs.PCI_MSIX_FLAGS_ENABLE) !== 0
  }

  message(vector: number): MsiMessage | null {
    if ((this.#registers.get(this.#flags, 2) & regs.PCI_MSIX_FLAGS_MASKALL) !== 0) return null
    const at = vector * regs.PCI_MSIX_ENTRY_SIZE
    if ((this.#entries.getUint32(at + CONTROL, true) & MASKED) !== 0) return null
    return {
      address: this.#entries.getBigUint64(at + ADDRESS, true),
      data: this.#entries.getUint32(at + DATA, true),
    }
  }

  /** Reads bytes of the table. */
  read(offset: number, target: Uint8Array): void {
    target.set(new Uint8Array(this.#entries.buffer, offset, target.length))
  }

  /** Writes bytes of the table. */
  write(offset: number, source: Uint8Array): void {
    new Uint8Array(this.#entries.buffer).set(source, offset)
    const first = Math.floor(offset / regs.PCI_MSIX_ENTRY_SIZE)
    const last = Math.floor((offset + source.length - 1) / regs.PCI_MSIX_ENTRY_SIZE)
    for (let vector = first; vector <= last; vector++) this.#onChange(vector)
  }

  /** Reads bytes of the pending bit array. */
  readPending(offset: number, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) {
      let bits = 0
      for (let bit = 0; bit < 8; bit++) {
        const vector = (offset + i) * 8 + bit
        if (vector >= this.count || !this.enabled || this.message(vector) !== null) continue
        if (this.#pending(vector)) bits |= 1 << bit
      }
      target[i] = bits
    }
  }

  /** As after a reset: off, every vector masked. */
  clear(): void {
    this.#registers.set(this.#flags, 2, this.count - 1)
    new Uint8Array(this.#entries.buffer).fill(0)
    for (let vector = 0; vector < this.count; vector++)
      this.#entries.setUint32(vector * regs.PCI_MSIX_ENTRY_SIZE + CONTROL, MASKED, true)
  }
}
