// The command register as named bits. It must not know what VFIO does when one of them changes.

import { type ConfigSpace, checkSpace } from './config-space.js'
import * as regs from './registers.js'

/**
 * `PCI_COMMAND`, live: every read and every assignment goes to the device. Assigning to one bit reads the
 * register, changes that bit and writes it back.
 */
export class PciCommand {
  readonly #space: ConfigSpace

  constructor(space: ConfigSpace) {
    checkSpace(space)
    this.#space = space
  }

  /** The whole register, 16 bits. */
  get raw(): number {
    return this.#space.read16(regs.PCI_COMMAND)
  }

  set raw(value: number) {
    this.#space.write16(regs.PCI_COMMAND, value)
  }

  /** Answers accesses to I/O BARs. */
  get ioSpace(): boolean {
    return this.#get(regs.PCI_COMMAND_IO)
  }

  set ioSpace(on: boolean) {
    this.#set(regs.PCI_COMMAND_IO, on)
  }

  /** Answers accesses to memory BARs. While off, a mapped BAR faults. */
  get memorySpace(): boolean {
    return this.#get(regs.PCI_COMMAND_MEMORY)
  }

  set memorySpace(on: boolean) {
    this.#set(regs.PCI_COMMAND_MEMORY, on)
  }

  /** May issue DMA and message signalled interrupts. Off after VFIO opens a device. */
  get busMaster(): boolean {
    return this.#get(regs.PCI_COMMAND_MASTER)
  }

  set busMaster(on: boolean) {
    this.#set(regs.PCI_COMMAND_MASTER, on)
  }

  /** Watches special cycles. */
  get specialCycle(): boolean {
    return this.#get(regs.PCI_COMMAND_SPECIAL)
  }

  set specialCycle(on: boolean) {
    this.#set(regs.PCI_COMMAND_SPECIAL, on)
  }

  /** May use Memory Write and Invalidate. */
  get memoryWriteInvalidate(): boolean {
    return this.#get(regs.PCI_COMMAND_INVALIDATE)
  }

  set memoryWriteInvalidate(on: boolean) {
    this.#set(regs.PCI_COMMAND_INVALIDATE, on)
  }

  /** Snoops writes to the VGA palette. */
  get vgaPaletteSnoop(): boolean {
    return this.#get(regs.PCI_COMMAND_VGA_PALETTE)
  }

  set vgaPaletteSnoop(on: boolean) {
    this.#set(regs.PCI_COMMAND_VGA_PALETTE, on)
  }

  /** Acts on parity errors (poisoned TLPs on PCI Express). */
  get parity(): boolean {
    return this.#get(regs.PCI_COMMAND_PARITY)
  }

  set parity(on: boolean) {
    this.#set(regs.PCI_COMMAND_PARITY, on)
  }

  /** Reports system errors. */
  get serr(): boolean {
    return this.#get(regs.PCI_COMMAND_SERR)
  }

  set serr(on: boolean) {
    this.#set(regs.PCI_COMMAND_SERR, on)
  }

  /** May issue back-to-back writes to different targets. */
  get fastBackToBack(): boolean {
    return this.#get(regs.PCI_COMMAND_FAST_BACK)
  }

  set fastBackToBack(on: boolean) {
    this.#set(regs.PCI_COMMAND_FAST_BACK, on)
  }

  /** Keeps the device from asserting INTx. */
  get interruptDisable(): boolean {
    return this.#get(regs.PCI_COMMAND_INTX_DISABLE)
  }

  set interruptDisable(on: boolean) {
    this.#set(regs.PCI_COMMAND_INTX_DISABLE, on)
  }

  #get(bit: number): boolean {
    return (this.raw & bit) !== 0
  }

  #set(bit: number, on: boolean): void {
    this.raw = on ? this.raw | bit : this.raw & ~bit
  }
}
