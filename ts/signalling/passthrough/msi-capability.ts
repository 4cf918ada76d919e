// MsiCapabilityRegisters: the MSI capability as the guest programs it. Pure: what becomes of its messages is not its
// business.
import type { MsiMessage } from '../../kvm/index.js'
import type { MsiCapability } from '../../pci/capabilities.js'
import * as regs from '../../pci/registers.js'
import type { ConfigRegisters } from './config-registers.js'

/** What a set of messages looks like from outside: the guest's MSI or MSI-X. */
export interface MessageSource {
  /** Whether the guest has turned it on. */
  readonly enabled: boolean
  /** Vectors that count, from 0 on. */
  readonly count: number
  /** What a vector sends, or null while the guest masks it. */
  message(vector: number): MsiMessage | null
}

export class MsiCapabilityRegisters implements MessageSource {
  readonly #registers: ConfigRegisters
  readonly #capability: MsiCapability

  /**
   * @param onWrite called after the guest wrote to it
   * @param pending whether a masked vector has an interrupt waiting
   */
  constructor(
    registers: ConfigRegisters,
    capability: MsiCapability,
    onWrite: () => void,
    pending: (vector: number) => boolean,
  ) {
    this.#registers = registers
    this.#capability = capability
    const { offset, is64Bit, maskable, vectorsCapable } = capability
    const define = (register: number, width: 1 | 2 | 4, writable: number, value = 0): void => {
      registers.define(offset + register, width, { virtual: 0xffff_ffff, value, writable })
      registers.hook(offset + register, width, (_value, _previous, commit) => {
        commit()
        onWrite()
      })
    }
    const flags =
      (Math.log2(vectorsCapable) << 1) |
      (is64Bit ? regs.PCI_MSI_FLAGS_64BIT : 0) |
      (maskable ? regs.PCI_MSI_FLAGS_MASKBIT : 0)
    define(regs.PCI_MSI_FLAGS, 2, regs.PCI_MSI_FLAGS_ENABLE | regs.PCI_MSI_FLAGS_QSIZE, flags)
    define(regs.PCI_MSI_ADDRESS_LO, 4, 0xffff_fffc)
    if (is64Bit) define(regs.PCI_MSI_ADDRESS_HI, 4, 0xffff_ffff)
    define(this.#data, 2, 0xffff)
    if (!maskable) return
    define(this.#mask, 4, 2 ** vectorsCapable - 1)
    const pendingRegister = offset + (is64Bit ? regs.PCI_MSI_PENDING_64 : regs.PCI_MSI_PENDING_32)
    registers.define(pendingRegister, 4, { virtual: 0xffff_ffff })
    registers.compute(pendingRegister, 4, () => {
      let bits = 0
      for (let vector = 0; vector < this.count; vector++) {
        if (this.enabled && this.message(vector) === null && pending(vector)) bits += 2 ** vector
      }
      return bits
    })
  }

  get enabled(): boolean {
    return (this.#get(regs.PCI_MSI_FLAGS, 2) & regs.PCI_MSI_FLAGS_ENABLE) !== 0
  }

  /** Vectors that the guest grants; no more than the device asked for, whatever it wrote. */
  get count(): number {
    const granted = 1 << ((this.#get(regs.PCI_MSI_FLAGS, 2) & regs.PCI_MSI_FLAGS_QSIZE) >> 4)
    return Math.min(granted, this.#capability.vectorsCapable)
  }

  message(vector: number): MsiMessage | null {
    const { is64Bit, maskable } = this.#capability
    if (maskable && (this.#get(this.#mask, 4) >>> vector) % 2 === 1) return null
    const high = is64Bit ? this.#get(regs.PCI_MSI_ADDRESS_HI, 4) : 0
    const address = (BigInt(high) << 32n) | BigInt(this.#get(regs.PCI_MSI_ADDRESS_LO, 4))
    // The device tells its vectors apart by the lowest bits of the data, as many as the granted number needs.
    return { address, data: (this.#get(this.#data, 2) & ~(this.count - 1)) | vector }
  }

  /** As after a reset. */
  clear(): void {
    const writable = regs.PCI_MSI_FLAGS_ENABLE | regs.PCI_MSI_FLAGS_QSIZE
    this.#set(regs.PCI_MSI_FLAGS, 2, this.#get(regs.PCI_MSI_FLAGS, 2) & ~writable)
    this.#set(regs.PCI_MSI_ADDRESS_LO, 4, 0)
    if (this.#capability.is64Bit) this.#set(regs.PCI_MSI_ADDRESS_HI, 4, 0)
    this.#set(this.#data, 2, 0)
    if (this.#capability.maskable) this.#set(this.#mask, 4, 0)
  }

  get #data(): number {
    return this.#capability.is64Bit ? regs.PCI_MSI_DATA_64 : regs.PCI_MSI_DATA_32
  }

  get #mask(): number {
    return this.#capability.is64Bit ? regs.PCI_MSI_MASK_64 : regs.PCI_MSI_MASK_32
  }

  #get(register: number, width: 2 | 4): number {
    return this.#registers.get(this.#capability.offset + register, width)
  }

  #set(register: number, width: 2 | 4, value: number): void {
    this.#registers.set(this.#capability.offset + register, width, value)
  }
}
