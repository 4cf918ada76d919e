// GuestInterrupts: which of INTx, MSI and MSI-X the guest has on, and only that one at the device, since VFIO allows one.
import type { VfioDevice } from '../../device/device.js'
import type { Vm } from '../../kvm/index.js'
import { type IntxWire, type KernelIntxOptions, type OwnIntxOptions, wireIntx } from '../wire-intx.js'
import type { GuestConfig, MessageKind } from './guest-config.js'
import { MessageVectors } from './message-vectors.js'
import type { MessageSource } from './msi-capability.js'
import { type Shortfalls, isRefusal } from './shortfalls.js'

type Mode = 'off' | 'intx' | MessageKind

export class GuestInterrupts {
  readonly #vm: Vm
  readonly #device: VfioDevice
  readonly #intx: KernelIntxOptions | OwnIntxOptions | null
  readonly #shortfalls: Shortfalls
  /** What the guest asked for last, whether it is on or not. */
  #asked: Mode = 'off'
  #mode: Mode = 'off'
  #line: IntxWire | undefined
  #vectors: MessageVectors | undefined
  #granted = 0

  constructor(
    vm: Vm,
    device: VfioDevice,
    intx: KernelIntxOptions | OwnIntxOptions | null,
    shortfalls: Shortfalls,
  ) {
    this.#vm = vm
    this.#shortfalls = shortfalls
    this.#device = device
    this.#intx = intx
  }

  /** What is on at the device. */
  get mode(): Mode {
    return this.#mode
  }

  /**
   * Follows what the guest programmed: `vector` of `kind`, or (null) any of them. What the host refuses stays off, as on a
   * device that has lost its interrupts; the guest's driver falls back, or fails.
   */
  follow(config: GuestConfig, kind: MessageKind, vector: number | null): void {
    const wanted = this.#wanted(config)
    const source = wanted === 'msi' || wanted === 'msix' ? config[wanted] : null
    // What is not on although it was asked for is tried again: the device may have slept.
    const missing = vector === null && this.#mode !== wanted
    if (wanted !== this.#asked || missing || (wanted === 'msi' && source?.count !== this.#granted)) {
      this.#tolerate(() => {
        this.#switch(wanted, source)
      })
    } else if (kind === wanted && source !== null) {
      const first = vector ?? 0
      const count = vector === null ? source.count : 1
      const changes = Array.from({ length: count }, (_, i) => [first + i, source.message(first + i)] as const)
      for (const error of this.#vectors?.applyAll(changes) ?? []) this.#refused(error)
    }
  }

  /** Begins as a device does after power-up, with its interrupt line. */
  start(): void {
    this.#switch(this.#intx === null ? 'off' : 'intx', null)
  }

  /** Whether a vector has an interrupt waiting; null when only the device knows. */
  pending(kind: MessageKind, vector: number): boolean | null {
    return kind === this.#mode ? (this.#vectors?.pending(vector) ?? null) : false
  }

  /** The guest's end of interrupt for the INTx pin, from a VMM that has its own IOAPIC. */
  eoi(): void {
    this.#line?.eoi()
  }

  close(): void {
    this.#switch('off', null)
  }

  #wanted({ msi, msix }: GuestConfig): Mode {
    if (msix?.enabled === true) return 'msix'
    if (msi?.enabled === true) return 'msi'
    return this.#intx === null ? 'off' : 'intx'
  }

  #switch(mode: Mode, source: MessageSource | null): void {
    this.#asked = mode
    this.#mode = 'off'
    const line = this.#line
    const vectors = this.#vectors
    this.#line = undefined
    this.#vectors = undefined
    try {
      line?.close()
    } finally {
      vectors?.close()
    }
    if (mode === 'intx' && this.#intx !== null) this.#line = wireIntx(this.#vm, this.#device, this.#intx)
    if ((mode === 'msi' || mode === 'msix') && source !== null) {
      this.#granted = source.count
      const messages = (vector: number): ReturnType<MessageSource['message']> => source.message(vector)
      const irq = this.#device.irq(mode)
      this.#vectors = new MessageVectors(this.#vm, irq, source.count, messages, this.#shortfalls)
    }
    this.#mode = mode
  }

  #tolerate(step: () => void): void {
    try {
      step()
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#refused(error)
    }
  }

  #refused(error: Error): void {
    this.#shortfalls.count('refusedInterrupts', `${this.#asked} of the guest is not delivered`, error)
  }
}
