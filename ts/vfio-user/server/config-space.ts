// The configuration space of a device that is written here: bytes, which of their bits can be written, and who wants to know.
// What is in it, config-layout.ts has put there; it must not know registers beyond those that change by themselves.
import type { ConfigSpace } from '../../pci/config-space.js'
import * as regs from '../../pci/registers.js'
import type { RegisterValue, UserCapability } from './options.js'

/** Registers whose author wants to be asked, or told. */
export interface ConfigHook extends Pick<UserCapability, 'onRead' | 'onWrite'> {
  readonly offset: number
  readonly size: number
}

/** What a space is made of. */
export interface ConfigLayout {
  readonly bytes: Uint8Array
  /** Which bits can be written. */
  readonly writable: Uint8Array
  readonly hooks: readonly ConfigHook[]
}

/**
 * Bytes that are written through a mask. That is all it takes for base address registers to answer a write of ones with their
 * size: the bits below it cannot be written.
 */
export class UserConfigSpace implements ConfigSpace {
  readonly size: number
  /** Called after the command register was written. */
  onCommand: (() => void) | undefined
  readonly #initial: Uint8Array
  readonly #writable: Uint8Array
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #hooks: readonly ConfigHook[]

  constructor({ bytes, writable, hooks }: ConfigLayout) {
    this.size = bytes.length
    this.#initial = bytes
    this.#writable = writable
    this.#bytes = bytes.slice()
    this.#view = new DataView(this.#bytes.buffer)
    this.#hooks = hooks
  }

  /** The command register, as it is now. */
  get command(): number {
    return this.#view.getUint16(regs.PCI_COMMAND, true)
  }

  /** Whether the device may reach memory by itself. */
  get busMaster(): boolean {
    return (this.command & regs.PCI_COMMAND_MASTER) !== 0
  }

  read8(offset: number): number {
    this.#ask(offset, 1)
    return this.#view.getUint8(offset)
  }

  read16(offset: number): number {
    this.#ask(offset, 2)
    return this.#view.getUint16(offset, true)
  }

  read32(offset: number): number {
    this.#ask(offset, 4)
    return this.#view.getUint32(offset, true)
  }

  write8(offset: number, value: number): void {
    this.#writeByte(offset, value)
    this.#told(offset, 1, value)
  }

  write16(offset: number, value: number): void {
    this.#writeByte(offset, value)
    this.#writeByte(offset + 1, value >>> 8)
    this.#told(offset, 2, value)
  }

  write32(offset: number, value: number): void {
    for (let i = 0; i < 4; i++) this.#writeByte(offset + i, value >>> (8 * i))
    this.#told(offset, 4, value)
  }

  /** Sets registers that the device changes, whatever a client may write. */
  set(offset: number, width: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < width; i++) this.#bytes[offset + i] = value >>> (8 * i)
  }

  /** INTx as the status register shows it. */
  showInterrupt(asserted: boolean): void {
    const status = this.#view.getUint8(regs.PCI_STATUS) & ~regs.PCI_STATUS_INTERRUPT
    this.#view.setUint8(regs.PCI_STATUS, asserted ? status | regs.PCI_STATUS_INTERRUPT : status)
  }

  /** As after power-on. */
  reset(): void {
    this.#bytes.set(this.#initial)
  }

  /** The bytes as they are, for a migration. */
  save(): Uint8Array {
    return this.#bytes.slice()
  }

  /** Takes what another device of the same kind saved: the bits that can be written, no others. */
  load(bytes: Uint8Array): void {
    for (let i = 0; i < Math.min(bytes.length, this.size); i++) this.#writeByte(i, bytes[i] ?? 0)
  }

  #writeByte(offset: number, value: number): void {
    const mask = this.#writable[offset] ?? 0
    this.#bytes[offset] = ((this.#bytes[offset] ?? 0) & ~mask) | (value & mask)
  }

  #ask(offset: number, width: 1 | 2 | 4): void {
    for (const hook of this.#hooks) {
      if (hook.onRead === undefined || !covers(hook, offset)) continue
      const value: RegisterValue | undefined = hook.onRead(offset - hook.offset, width)
      if (value === undefined) continue
      this.set(offset, width, typeof value === 'bigint' ? Number(BigInt.asUintN(32, value)) : value)
    }
  }

  #told(offset: number, width: number, value: number): void {
    if (offset <= regs.PCI_COMMAND + 1 && offset + width > regs.PCI_COMMAND) this.onCommand?.()
    for (const hook of this.#hooks)
      if (covers(hook, offset)) hook.onWrite?.(offset - hook.offset, width, value)
  }
}

function covers(hook: ConfigHook, offset: number): boolean {
  return offset >= hook.offset && offset < hook.offset + hook.size
}
