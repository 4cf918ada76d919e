// A device that is written in TypeScript (UserDevice) in a slot of the guest's own bus, without a socket: what a client of it would do,
// done here. Puts the parts together; each of them knows one thing that a client gives: memory, registers, interrupts.
import { EBADF, VfioError } from '../../errors.js'
import { Vm } from '../../kvm/index.js'
import { type SignalPoller, environmentPollers } from '../../event/poller.js'
import { Wire } from '../../signalling/wire.js'
import { callable, instance, integer, object } from '../../validate.js'
import { UserDevice } from '../../vfio-user/server/user-device.js'
import type { ServedDevice } from '../../vfio-user/server/served.js'
import { Bus, type Width } from '../bus.js'
import type { PciFunction } from './function.js'
import { PluggedBars } from './plugged-bars.js'
import { PluggedInterrupts } from './plugged-interrupts.js'
import { showMemory } from './plugged-memory.js'
import { answer, CONFIG_REGION } from './plugged-region.js'

export interface PlugOptions {
  /** The line of its pin: `lineOf(slot, 1)`. */
  readonly gsi: number
  /** Where doorbells and the ends of interrupts are heard (default: the environment's own poller, which keeps the process alive). */
  readonly poller?: SignalPoller
  /** Told of what the device or the kernel refuses. The guest sees a device that does not do it. */
  readonly onError?: (error: unknown) => void
}

/**
 * Makes a `UserDevice` a function of a guest's PCI bus: its BARs are on the bus, its doorbells reach it through the kernel, its
 * interrupts are the guest's, and the guest's memory is its own. It belongs to the environment (thread) that made it, which answers
 * its registers. Handlers must answer at once: a promise reads as all ones.
 *
 * It closes with its Vm; the device can then be plugged in elsewhere.
 */
export class PluggedDevice extends Wire implements PciFunction {
  readonly device: UserDevice
  readonly #served: ServedDevice
  readonly #bars: PluggedBars
  readonly #interrupts: PluggedInterrupts
  readonly #onError: (error: unknown) => void

  /** @throws VfioError EBUSY when a server, or another guest, has the device */
  constructor(vm: Vm, bus: Bus, device: UserDevice, options: PlugOptions) {
    super()
    instance(vm, Vm, 'vm')
    instance(bus, Bus, 'bus')
    this.device = instance(device, UserDevice, 'device')
    const {
      gsi,
      poller = environmentPollers().waiting,
      onError = () => undefined,
    } = object(options, 'options')
    integer(gsi, 'gsi', 0, 0xffff)
    this.#onError = callable(onError, 'onError')
    const served = (this.#served = device.served)
    this.#interrupts = new PluggedInterrupts(vm, served, { gsi, poller, onError })
    this.#bars = new PluggedBars(vm, bus, served, {
      poller,
      onError,
      written: (region, offset) => {
        this.#interrupts.written(region, offset)
      },
    })
    this.setUp(() => {
      this.undoLater(device.claim(this))
      this.closeWith(vm)
      this.undoLater(showMemory(vm, served))
      this.undoLater(() => {
        this.#bars.close()
      })
      this.undoLater(() => {
        this.#interrupts.close()
      })
      this.#interrupts.follow()
      this.#run(served.told.onConnect)
      this.undoLater(() => {
        this.#run(served.told.onDisconnect)
      })
    })
  }

  readConfig(offset: number, width: Width): number {
    const config = this.#served.regions[CONFIG_REGION]
    if (this.closed || config === undefined || offset + width > config.size) return 2 ** (8 * width) - 1
    return answer(config.read(offset, width), width)
  }

  writeConfig(offset: number, width: Width, value: number): void {
    const config = this.#served.regions[CONFIG_REGION]
    if (this.closed || config === undefined || offset + width > config.size) return
    config.write(offset, width, value)
    this.#follow()
  }

  /** Resets it with its machine. @throws VfioError EBADF once it is closed: the device may be somebody else's */
  reset(): void {
    if (this.closed) throw new VfioError(EBADF, 'closed', { subject: `PluggedDevice of ${this.device.name}` })
    const done = this.#served.reset()
    if (done instanceof Promise) done.catch(this.#onError)
    this.#follow()
  }

  /** Does as the configuration space says, unless a handler of the device has just closed it. */
  #follow(): void {
    if (this.closed) return
    this.#bars.follow()
    this.#interrupts.follow()
  }

  #run(handler: (() => unknown) | undefined): void {
    try {
      const result = handler?.()
      if (result instanceof Promise) result.catch(this.#onError)
    } catch (error) {
      this.#onError(error)
    }
  }
}
