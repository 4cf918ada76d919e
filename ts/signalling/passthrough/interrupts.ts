// GuestInterrupts: which of INTx, MSI and MSI-X the guest has on, and only that one at the device, since VFIO allows one.
import type { VfioDevice } from '../../device/device.js'
import type { Vm } from '../../kvm/index.js'
import { type IntxWire, type KernelIntxOptions, type OwnIntxOptions, wireIntx } from '../wire-intx.js'
import type { GuestConfig, MessageKind } from './guest-config.js'
import { MessageVectors } from './message-vectors.js'
import type { MessageSource } from './msi-capability.js'

type Mode = 'off' | 'intx' | MessageKind

export class GuestInterrupts {
  readonly #vm: Vm
  readonly #device: VfioDevice
  readonly #intx: KernelIntxOptions | OwnIntxOptions | null
  #mode: Mode = 'off'
  #line: IntxWire | undefined
  #vectors: MessageVectors | undefined
  #granted = 0

  constructor(vm: Vm, device: VfioDevice, intx: KernelIntxOptions | OwnIntxOptions | null) {
    this.#vm = vm
    this.#device = device
    this.#intx = intx
  }

  /** What is on. */
  get mode(): Mode {
    return this.#mode
  }

  /** Follows what the guest programmed: `vector` of `kind`, or (null) any of them. */
  follow(config: GuestConfig, kind: MessageKind, vector: number | null): void {
    const wanted = this.#wanted(config)
    const source = wanted === 'msi' || wanted === 'msix' ? config[wanted] : null
    if (wanted !== this.#mode || (wanted === 'msi' && source?.count !== this.#granted)) {
      this.#switch(wanted, source)
    } else if (kind === wanted && source !== null) {
      const first = vector ?? 0
      const last = vector ?? source.count - 1
      for (let each = first; each <= last; each++) this.#vectors?.apply(each, source.message(each))
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
    this.#mode = 'off'
    this.#line?.close()
    this.#line = undefined
    this.#vectors?.close()
    this.#vectors = undefined
    if (mode === 'intx' && this.#intx !== null) this.#line = wireIntx(this.#vm, this.#device, this.#intx)
    if ((mode === 'msi' || mode === 'msix') && source !== null) {
      this.#granted = source.count
      const messages = (vector: number): ReturnType<MessageSource['message']> => source.message(vector)
      this.#vectors = new MessageVectors(this.#vm, this.#device.irq(mode), source.count, messages)
    }
    this.#mode = mode
  }
}
