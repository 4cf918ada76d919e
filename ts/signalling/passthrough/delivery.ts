// How a vector's interrupts reach the guest: by the kernel (MsiWire), or by user space where the kernel cannot. Knows nothing
// of the device.
import { VfioError } from '../../errors.js'
import type { EventFd } from '../../event/eventfd.js'
import { environmentPollers } from '../../event/poller.js'
import type { MsiMessage, Vm } from '../../kvm/index.js'

/** A vector of the guest, on its way there. */
export interface Delivery {
  /** Sends another message from now on. */
  update(message: MsiMessage): void
  /** What arrives from now on waits. */
  mask(): void
  /** Lets through what waits, and what comes. */
  unmask(): void
  /** Whether an interrupt waits. */
  readonly pending: boolean
  close(): void
}

/** A vector whose message user space sends (KVM_SIGNAL_MSI). */
export class Relay implements Delivery {
  readonly #vm: Vm
  readonly #onRefusal: (error: VfioError) => void
  #message: MsiMessage | null = null
  #masked = true
  #waiting = false

  /** @param onRefusal called when the guest's message is none that the kernel can send */
  constructor(vm: Vm, onRefusal: (error: VfioError) => void) {
    this.#vm = vm
    this.#onRefusal = onRefusal
  }

  /** The device has signalled the vector. */
  fire(): void {
    if (this.#masked || this.#message === null) this.#waiting = true
    else this.#send(this.#message)
  }

  update(message: MsiMessage): void {
    this.#message = message
  }

  mask(): void {
    this.#masked = true
  }

  unmask(): void {
    this.#masked = false
    if (!this.#waiting || this.#message === null) return
    this.#waiting = false
    this.#send(this.#message)
  }

  get pending(): boolean {
    return this.#waiting
  }

  close(): void {
    this.#masked = true
    this.#waiting = false
  }

  #send(message: MsiMessage): void {
    try {
      this.#vm.signalMsi(message)
    } catch (error) {
      if (!(error instanceof VfioError)) throw error
      this.#onRefusal(error)
    }
  }
}

/** Listens to an eventfd on behalf of relays, until it closes. The process is not kept alive for it. */
export function relayFrom(eventfd: EventFd, relays: readonly Relay[]): void {
  environmentPollers().background.add(eventfd, () => {
    for (const relay of relays) relay.fire()
  })
}
