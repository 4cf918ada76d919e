// The interrupt indices of a device: each is asked for once.
import { VfioError, attempt } from '../errors.js'
import type { DeviceCore } from './core.js'
import { InterruptIndex } from './interrupts.js'
import { type IrqName, irqIndex } from './names.js'

export class IrqTable {
  readonly #device: DeviceCore
  readonly #open = new Map<number, InterruptIndex>()

  constructor(device: DeviceCore) {
    this.#device = device
  }

  /** The same object at every call. */
  get(id: IrqName | number): InterruptIndex {
    const { info, backend, label } = this.#device
    const index = irqIndex(id, info.bus)
    const held = this.#open.get(index)
    if (held !== undefined) return held
    const found = attempt({ subject: `irq ${String(id)} of ${label}` }, () => backend.irqInfo(index))
    const irq = new InterruptIndex(found, this.#device, info.bus)
    this.#open.set(index, irq)
    return irq
  }

  /** Those that have a vector. */
  all(): InterruptIndex[] {
    const found: InterruptIndex[] = []
    for (let index = 0; index < this.#device.info.numIrqs; index++) {
      try {
        const irq = this.get(index)
        if (irq.count > 0) found.push(irq)
      } catch (error) {
        // ERR of a device that is not PCI Express is EINVAL.
        if (!(error instanceof VfioError) || error.code !== 'EINVAL') throw error
      }
    }
    return found
  }

  /** The indices that were asked for. */
  opened(): Iterable<InterruptIndex> {
    return this.#open.values()
  }
}
