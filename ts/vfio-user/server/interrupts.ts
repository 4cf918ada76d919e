// The interrupts of a device: the eventfds that its client gave, which of them are signalled and when. Owns those eventfds. Knows
// no message; what one asks for was checked against `count` before.
import type { EventFd } from '../../event/eventfd.js'
import { PCI_IRQS } from '../../device/names.js'
import { VfioError } from '../../errors.js'
import { IRQ_FLAG } from '../protocol/constants.js'
import type { UserConfigSpace } from './config-space.js'
import * as regs from '../../pci/registers.js'
import type { MsixTable } from './msix-table.js'
import type { UserIrqName } from './options.js'

export const INTX = 0
export const MSI = 1
export const MSIX = 2

/** How a device's interrupts reach its client: by whichever the client has given eventfds for. */
export type InterruptMode = 'intx' | 'msi' | 'msix' | null

/** Watches eventfds that a client, or its kernel, signals. */
export interface EventWatch {
  watch(eventfd: EventFd, signalled: (count: number) => unknown): () => void
}

function signal(eventfd: EventFd): void {
  try {
    eventfd.signal()
  } catch (error) {
    // EAGAIN: it is as full as it gets, so that who reads it is woken anyway.
    if (!(error instanceof VfioError && error.code === 'EAGAIN')) throw error
  }
}

export class Interrupts {
  readonly #eventfds: (EventFd | null)[][]
  readonly #config: UserConfigSpace
  readonly #table: MsixTable | null
  #line = false
  #masked = false
  #unmask: { eventfd: EventFd; forget: () => void } | null = null
  /** Signals sent since the device was made. */
  signals = 0

  constructor(counts: readonly number[], config: UserConfigSpace, table: MsixTable | null) {
    this.#eventfds = counts.map((count) => Array.from({ length: count }, () => null))
    this.#config = config
    this.#table = table
  }

  /** How many vectors an index has. */
  count(index: number): number {
    return this.#eventfds[index]?.length ?? 0
  }

  flags(index: number): number {
    if (index === INTX) return IRQ_FLAG.eventfd | IRQ_FLAG.maskable | IRQ_FLAG.automasked
    return IRQ_FLAG.eventfd | (index === MSI || index === MSIX ? IRQ_FLAG.noresize : 0)
  }

  get mode(): InterruptMode {
    for (const index of [MSIX, MSI, INTX]) if (this.taken(index)) return PCI_IRQS[index] as InterruptMode
    return null
  }

  /** Whether the client has given an eventfd for a vector of an index. */
  taken(index: number): boolean {
    return this.#eventfds[index]?.some((each) => each !== null) === true
  }

  /** Whether the pin's line is up. */
  get line(): boolean {
    return this.#line
  }

  has(name: UserIrqName, vector: number): boolean {
    return vector < this.count(PCI_IRQS.indexOf(name))
  }

  /**
   * The device has something to say. A pin's line goes up and stays there; a vector is signalled, or stays pending until its
   * eventfd comes.
   */
  raise(name: UserIrqName, vector: number): void {
    if (name === 'intx') {
      this.#line = true
      this.#config.showInterrupt(true)
      this.#signalLine()
      return
    }
    const index = PCI_IRQS.indexOf(name)
    const eventfd = this.#eventfds[index]?.[vector] ?? null
    if (eventfd !== null) this.#signal(eventfd)
    else if (index === MSIX) this.#table?.setPending(vector, true)
  }

  lower(): void {
    this.#line = false
    this.#config.showInterrupt(false)
  }

  /** The command register was written, which can let a line out again. */
  commandWritten(): void {
    this.#signalLine()
  }

  /** Gives a vector its eventfd, which is the interrupts' from here on, or takes it away. */
  set(index: number, vector: number, eventfd: EventFd | null): void {
    const vectors = this.#eventfds[index]
    if (vectors === undefined) return
    vectors[vector]?.close()
    vectors[vector] = eventfd
    if (eventfd === null) return
    if (index === INTX) {
      this.#masked = false
      this.#signalLine()
    } else if (index === MSIX && this.#table?.isPending(vector) === true) {
      this.#table.setPending(vector, false)
      this.#signal(eventfd)
    }
  }

  /** The same for several of them. */
  assign(index: number, start: number, eventfds: readonly (EventFd | null)[]): void {
    eventfds.forEach((eventfd, i) => {
      this.set(index, start + i, eventfd)
    })
  }

  /** Every eventfd of an index goes. */
  disable(index: number): void {
    this.#eventfds[index]?.forEach((_, vector) => this.set(index, vector, null))
    if (index === INTX) {
      this.setUnmask(null, null)
      this.#masked = false
    }
  }

  /** Signals as the device would. */
  trigger(index: number, vector: number): void {
    const eventfd = this.#eventfds[index]?.[vector] ?? null
    if (eventfd !== null) this.#signal(eventfd)
  }

  mask(): void {
    this.#masked = true
  }

  /** What was not delivered while it was masked is, if it is still so. */
  unmask(): void {
    this.#masked = false
    this.#signalLine()
  }

  /** The eventfd whose signals unmask: a guest's end of interrupt, by way of its kernel. */
  setUnmask(eventfd: EventFd | null, watcher: EventWatch | null): void {
    this.#unmask?.forget()
    this.#unmask?.eventfd.close()
    this.#unmask = null
    if (eventfd === null || watcher === null) return
    try {
      const forget = watcher.watch(eventfd, () => {
        this.unmask()
      })
      this.#unmask = { eventfd, forget }
    } catch (error) {
      eventfd.close()
      throw error
    }
  }

  /** Whether the client's eventfd unmasks: a guest's end of interrupt, by way of its kernel. */
  get watchesUnmask(): boolean {
    return this.#unmask !== null
  }

  /** The device was reset: its line is down, and nothing is pending. What the client gave stays. */
  reset(): void {
    this.lower()
    this.#table?.reset()
  }

  /** The client is gone, and its eventfds with it. */
  disconnect(): void {
    for (let index = 0; index < this.#eventfds.length; index++) this.disable(index)
  }

  #signalLine(): void {
    const eventfd = this.#eventfds[INTX]?.[0] ?? null
    if (!this.#line || this.#masked || eventfd === null) return
    if ((this.#config.command & regs.PCI_COMMAND_INTX_DISABLE) !== 0) return
    // As the kernel does it: masked until the client says that it was handled.
    this.#masked = true
    this.#signal(eventfd)
  }

  #signal(eventfd: EventFd): void {
    this.signals++
    signal(eventfd)
  }
}
