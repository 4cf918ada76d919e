// The interrupts of a plugged-in device, as its guest has set them up: by MSI-X, by MSI, or on its pin. Owns the eventfds and their wires
// to the guest; the device's own table and capability say what is wanted.
import { EventFd } from '../../event/eventfd.js'
import type { SignalPoller } from '../../event/poller.js'
import type { MsiMessage, Vm } from '../../kvm/index.js'
import * as regs from '../../pci/registers.js'
import { type MsiWire, wireMsi } from '../../signalling/wire-msi.js'
import { INTX, MSI, MSIX } from '../../vfio-user/server/interrupts.js'
import type { ServedRegion } from '../../vfio-user/server/region.js'
import type { ServedDevice } from '../../vfio-user/server/served.js'
import type { Width } from '../bus.js'
import { answer, CONFIG_REGION } from './plugged-region.js'

export interface PluggedInterruptsOptions {
  readonly gsi: number
  readonly poller: SignalPoller
  readonly onError: (error: unknown) => void
}

interface Vector {
  readonly eventfd: EventFd
  readonly wire: MsiWire
  /** Whether the device has the eventfd: masked, it has none. */
  given: boolean
}

const MASKED = 1
const MOST_CAPABILITIES = 48

/** The bytes of a region as registers; 0 where there are none. */
function registerOf(region: ServedRegion | undefined, offset: number, width: Width): number {
  return region === undefined || offset + width > region.size ? 0 : answer(region.read(offset, width), width)
}

export class PluggedInterrupts {
  readonly #vm: Vm
  readonly #device: ServedDevice
  readonly #options: PluggedInterruptsOptions
  readonly #msi: number | undefined
  readonly #msix: { readonly at: number; readonly bar: number; readonly table: number } | undefined
  #kind: typeof MSI | typeof MSIX | typeof INTX | undefined
  #vectors: (Vector | undefined)[] = []
  #unwire: (() => void) | undefined
  #reported = false

  constructor(vm: Vm, device: ServedDevice, options: PluggedInterruptsOptions) {
    this.#vm = vm
    this.#device = device
    this.#options = options
    this.#msi = this.#capability(regs.PCI_CAP_ID_MSI)
    const at = this.#capability(regs.PCI_CAP_ID_MSIX)
    const where = at === undefined ? 0 : this.#config(at + regs.PCI_MSIX_TABLE, 4)
    const bar = where & regs.PCI_MSIX_TABLE_BIR
    this.#msix = at === undefined ? undefined : { at, bar, table: where - bar }
  }

  /** Does as the configuration space says. */
  follow(): void {
    const wanted = this.#wanted
    if (wanted !== this.#kind) {
      this.close()
      this.#kind = wanted
      if (wanted === INTX) this.#wirePin()
    }
    if (wanted === MSIX) this.#each(MSIX, this.#device.interrupts.count(MSIX))
    if (wanted === MSI) this.#each(MSI, this.#msiVectors)
  }

  /** A BAR was written, in which the table of MSI-X may be. */
  written(region: number, offset: number): void {
    const { bar, table } = this.#msix ?? { bar: -1, table: 0 }
    if (region !== bar || this.#kind !== MSIX || offset < table) return
    const vector = Math.floor((offset - table) / regs.PCI_MSIX_ENTRY_SIZE)
    if (vector < this.#device.interrupts.count(MSIX)) this.#followVector(MSIX, vector)
  }

  /** Takes every eventfd from the device. */
  close(): void {
    if (this.#kind !== undefined) this.#device.interrupts.disable(this.#kind)
    this.#kind = undefined
    this.#unwire?.()
    this.#unwire = undefined
    for (const vector of this.#vectors) {
      vector?.wire.close()
      vector?.eventfd.close()
    }
    this.#vectors = []
  }

  #config(offset: number, width: Width): number {
    return registerOf(this.#device.regions[CONFIG_REGION], offset, width)
  }

  #capability(id: number): number | undefined {
    let at = this.#config(regs.PCI_CAPABILITY_LIST, 1)
    for (let i = 0; i < MOST_CAPABILITIES && at >= regs.PCI_STD_HEADER_SIZEOF; i++) {
      if (this.#config(at, 1) === id) return at
      at = this.#config(at + regs.PCI_CAP_LIST_NEXT, 1) & ~3
    }
    return undefined
  }

  get #wanted(): typeof MSI | typeof MSIX | typeof INTX | undefined {
    const msix = this.#msix === undefined ? 0 : this.#config(this.#msix.at + regs.PCI_MSIX_FLAGS, 2)
    if ((msix & regs.PCI_MSIX_FLAGS_ENABLE) !== 0) return MSIX
    const msi = this.#msi === undefined ? 0 : this.#config(this.#msi + regs.PCI_MSI_FLAGS, 2)
    if ((msi & regs.PCI_MSI_FLAGS_ENABLE) !== 0) return MSI
    return this.#device.interrupts.count(INTX) > 0 ? INTX : undefined
  }

  /** How many vectors the guest has turned on. */
  get #msiVectors(): number {
    const flags = this.#config((this.#msi ?? 0) + regs.PCI_MSI_FLAGS, 2)
    return Math.min(1 << ((flags & regs.PCI_MSI_FLAGS_QSIZE) >> 4), this.#device.interrupts.count(MSI))
  }

  #each(kind: typeof MSI | typeof MSIX, count: number): void {
    for (let vector = 0; vector < count; vector++) this.#followVector(kind, vector)
  }

  /** The message of a vector; undefined while it is masked. */
  #message(kind: typeof MSI | typeof MSIX, vector: number): MsiMessage | undefined {
    if (kind === MSI) {
      const at = this.#msi ?? 0
      const high = BigInt(this.#config(at + regs.PCI_MSI_ADDRESS_HI, 4))
      const low = BigInt(this.#config(at + regs.PCI_MSI_ADDRESS_LO, 4))
      const data = this.#config(at + regs.PCI_MSI_DATA_64, 2)
      return { address: (high << 32n) | low, data: data | vector }
    }
    const { at, bar, table } = this.#msix ?? { at: 0, bar: 0, table: 0 }
    if ((this.#config(at + regs.PCI_MSIX_FLAGS, 2) & regs.PCI_MSIX_FLAGS_MASKALL) !== 0) return undefined
    const region = this.#device.regions[bar]
    const word = (index: number): number =>
      registerOf(region, table + vector * regs.PCI_MSIX_ENTRY_SIZE + 4 * index, 4)
    if ((word(3) & MASKED) !== 0) return undefined
    return { address: (BigInt(word(1)) << 32n) | BigInt(word(0)), data: word(2) }
  }

  #followVector(kind: typeof MSI | typeof MSIX, index: number): void {
    const { interrupts } = this.#device
    const message = this.#message(kind, index)
    let vector = this.#vectors[index]
    if (message === undefined) {
      if (vector?.given !== true) return
      vector.given = false
      // What comes meanwhile is pending in the device.
      interrupts.assign(kind, index, [null])
      return
    }
    try {
      if (vector === undefined) vector = this.#vectors[index] = this.#wire(message)
      else vector.wire.update(message)
    } catch (error) {
      // A message that the kernel does not take: the vector is lost, as it would be on a bus.
      this.#report(error)
      return
    }
    if (vector.given) return
    vector.given = true
    interrupts.assign(kind, index, [EventFd.claim(vector.eventfd.share())])
  }

  #wire(message: MsiMessage): Vector {
    const eventfd = new EventFd()
    try {
      return { eventfd, wire: wireMsi(this.#vm, eventfd, message), given: false }
    } catch (error) {
      eventfd.close()
      throw error
    }
  }

  /** The pin: a level that stays until the guest's end of interrupt, which asks again whether it is up. */
  #wirePin(): void {
    const { gsi, poller } = this.#options
    const { interrupts } = this.#device
    const [eventfd, resample] = [new EventFd(), new EventFd()]
    try {
      const irqfd = this.#vm.irqfd(eventfd, { gsi, resample })
      this.#unwire = () => {
        irqfd.close()
        eventfd.close()
        resample.close()
      }
    } catch (error) {
      eventfd.close()
      resample.close()
      this.#report(error)
      return
    }
    interrupts.setUnmask(EventFd.claim(resample.share()), {
      watch: (watched, signalled) => {
        poller.add(watched, signalled)
        return () => {
          if (!poller.closed) poller.remove(watched)
        }
      },
    })
    interrupts.assign(INTX, 0, [EventFd.claim(eventfd.share())])
  }

  #report(error: unknown): void {
    if (this.#reported) return
    this.#reported = true
    this.#options.onError(error)
  }
}
