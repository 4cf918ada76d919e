// The interrupts of a brokered device: the client's eventfds, handed to the kernel, which signals them without this process. Owns
// those eventfds until the client takes them away or goes.
import type { VfioDevice } from '../../device/device.js'
import { type PciIrqName, PCI_IRQS } from '../../device/names.js'
import { EINVAL, VfioError } from '../../errors.js'
import type { EventFd } from '../../event/eventfd.js'
import { IRQ_FLAG } from '../protocol/constants.js'
import type { ServedInterrupts } from '../server/served.js'
import type { BrokerEvent, Tell } from './events.js'

const INTX = 0
/** From here on they are of the device as a whole, and this process takes them first. */
const ERR = 3

type Action = Extract<BrokerEvent, { what: 'interrupts' }>['action']

function countOf(device: VfioDevice, index: number): number {
  try {
    return device.irq(index).count
  } catch (error) {
    // A device that is not PCI Express has no ERR.
    if (error instanceof VfioError && error.errno === EINVAL) return 0
    throw error
  }
}

export class BrokeredInterrupts implements ServedInterrupts {
  /** The kernel watches the eventfd that unmasks. */
  readonly watchesUnmask = false
  /** Those of the device are the kernel's to count. */
  readonly signals = 0
  readonly #device: VfioDevice
  readonly #tell: Tell | null
  readonly #counts: readonly number[]
  readonly #held: (EventFd | null)[][]
  #unmask: EventFd | null = null

  constructor(device: VfioDevice, tell: Tell | null) {
    this.#device = device
    this.#tell = tell
    this.#counts = PCI_IRQS.map((_, index) => countOf(device, index))
    this.#held = PCI_IRQS.map(() => [])
  }

  count(index: number): number {
    return this.#counts[index] ?? 0
  }

  flags(index: number): number {
    if (this.count(index) === 0) return 0
    return index >= ERR ? IRQ_FLAG.eventfd : this.#device.irq(index).info.flags.raw
  }

  assign(index: number, start: number, eventfds: readonly (EventFd | null)[]): void {
    if (index < ERR) this.#device.irq(index).enable({ start, eventfds })
    const held = this.#held[index] ?? []
    eventfds.forEach((eventfd, i) => {
      held[start + i]?.close()
      held[start + i] = eventfd
    })
    const given = eventfds.filter((each) => each !== null).length
    this.#told(index, 'assign', start, eventfds.length, given)
  }

  disable(index: number): void {
    try {
      if (index < ERR && this.count(index) > 0) this.#device.irq(index).disable()
    } finally {
      this.#drop(index)
    }
    this.#told(index, 'off', 0, this.count(index))
  }

  taken(index: number): boolean {
    return this.#held[index]?.some((each) => each !== null) ?? false
  }

  trigger(index: number, vector: number): void {
    if (index >= ERR) this.signal(index === ERR ? 'err' : 'req')
    else this.#device.irq(index).trigger(vector)
    this.#told(index, 'trigger', vector, 1)
  }

  mask(): void {
    this.#device.irq(INTX).mask()
    this.#told(INTX, 'mask', 0, 1)
  }

  unmask(): void {
    this.#device.irq(INTX).unmask()
    this.#told(INTX, 'unmask', 0, 1)
  }

  setUnmask(eventfd: EventFd | null): void {
    this.#device.irq(INTX).setUnmaskEventFd(eventfd)
    this.#unmask?.close()
    this.#unmask = eventfd
    this.#told(INTX, 'unmask-eventfd', 0, 1, eventfd === null ? 0 : 1)
  }

  /** Tells the client what the kernel told this process, where it wants to know. */
  signal(name: 'err' | 'req'): void {
    this.#held[PCI_IRQS.indexOf(name)]?.[0]?.signal()
  }

  /** The client is gone: the kernel signals nobody, and its eventfds are closed. @throws what the last refusal was */
  release(): void {
    let refused: unknown
    for (let index = 0; index < PCI_IRQS.length; index++) {
      try {
        if (index < ERR && this.count(index) > 0) this.#device.irq(index).disable()
      } catch (error) {
        refused = error
      }
      this.#drop(index)
    }
    if (refused !== undefined) throw refused as Error
  }

  #drop(index: number): void {
    for (const eventfd of this.#held[index]?.splice(0) ?? []) eventfd?.close()
    if (index !== INTX) return
    this.#unmask?.close()
    this.#unmask = null
  }

  #told(index: number, action: Action, start: number, count: number, given = 0): void {
    const irq = PCI_IRQS[index] as PciIrqName
    this.#tell?.({ what: 'interrupts', irq, action, start, count, given })
  }
}
