// wireMsi: an eventfd's signal becomes a guest's message signalled interrupt. Owns the route and the irqfd.
import { EventFd } from '../event/eventfd.js'
import { type Irqfd, type MsiMessage, type MsiRoute, Vm } from '../kvm/index.js'
import { boolean, instance, object } from '../validate.js'
import { Wire } from './wire.js'

/** What `wireMsi` set up. */
export class MsiWire extends Wire {
  /** The eventfd. Only the kernel reads it while the wire is not masked. */
  readonly eventfd: EventFd
  readonly #vm: Vm
  readonly #route: MsiRoute
  #irqfd: Irqfd | undefined

  /**
   * @param options `owned`: the route goes with the wire
   * @internal
   */
  constructor(
    vm: Vm,
    eventfd: EventFd,
    route: MsiRoute,
    { masked, owned }: { masked: boolean; owned: boolean },
  ) {
    super()
    this.#vm = vm
    this.eventfd = eventfd
    this.#route = route
    this.setUp(() => {
      if (owned) {
        this.undoLater(() => {
          this.#route.close()
        })
      }
      this.closeWith(vm)
      this.closeWith(eventfd)
      this.undoLater(() => {
        this.mask()
      })
      if (!masked) this.unmask()
    })
  }

  /** The number of the interrupt in the Vm's routing table. */
  get gsi(): number {
    return this.#route.gsi
  }

  get masked(): boolean {
    return this.#irqfd === undefined
  }

  /** Sends another message from now on, as after the guest rewrote its vector. The same one again costs nothing. */
  update(message: MsiMessage): void {
    this.#route.update(message)
  }

  /** Takes the eventfd from KVM: what arrives now stays in its counter. */
  mask(): void {
    this.#irqfd?.close()
    this.#irqfd = undefined
  }

  /** Gives it back; what arrived meanwhile is delivered, as one interrupt. */
  unmask(): void {
    if (this.closed) throw new TypeError('the wire is closed')
    this.#irqfd ??= this.#vm.irqfd(this.eventfd, { gsi: this.#route.gsi })
  }

  /** Whether an interrupt waits for `unmask()`. Never while it is not masked. */
  get pending(): boolean {
    return this.#irqfd === undefined && !this.eventfd.closed && isSignalled(this.eventfd)
  }
}

/** Whether an eventfd that nobody reads has a count. */
export function isSignalled(eventfd: EventFd): boolean {
  const count = eventfd.read()
  if (count > 0) eventfd.giveBack(count)
  return count > 0
}

export interface MsiWireOptions extends MsiMessage {
  /** Begin masked: what arrives waits for `unmask()` (default false). */
  masked?: boolean
}

/**
 * Wires an eventfd, a vector's of a VFIO device for example, to a message signalled interrupt of a guest (KVM_IRQFD with an
 * MSI route): the interrupt then reaches the guest without user space. The eventfd must have no other reader.
 * @param eventfd stays the caller's; closing it closes the wire first
 * @throws VfioError EBUSY (`eventfd-in-use`) when something else reads the eventfd, or another wire has it
 */
export function wireMsi(vm: Vm, eventfd: EventFd, options: MsiWireOptions): MsiWire {
  instance(vm, Vm, 'vm')
  instance(eventfd, EventFd, 'eventfd')
  const { masked = false } = object(options, 'options')
  boolean(masked, 'masked')
  return new MsiWire(vm, eventfd, vm.routing.msi(options), { masked, owned: true })
}
