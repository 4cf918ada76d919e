// MessageVectors: the vectors of a device's MSI or MSI-X, each with an eventfd and a way into the guest. Decides when the
// device's set of vectors grows and what becomes of a shortage, and loses no interrupt over either.
import type { InterruptIndex } from '../../device/interrupts.js'
import { ENOSPC, VfioError } from '../../errors.js'
import { EventFd } from '../../event/eventfd.js'
import type { MsiMessage, MsiRoute, Vm } from '../../kvm/index.js'
import { MsiWire, isSignalled } from '../wire-msi.js'
import { type Delivery, Relay, relayFrom } from './delivery.js'
import { Shortfalls } from './shortfalls.js'

interface Vector {
  eventfd: EventFd
  /** From when the guest lets the vector through first. */
  delivery: Delivery | undefined
  /** What the kernel delivers by; none where user space does. */
  route: MsiRoute | undefined
}

/** A message by vector; null for one that is held back. */
export type Messages = (vector: number) => MsiMessage | null

/** What the guest wants of a vector. */
export type VectorChange = readonly [vector: number, message: MsiMessage | null]

/** A vector that is to be let through. */
interface Wanted {
  readonly vector: number
  readonly held: Vector
  readonly message: MsiMessage
}

/** The vectors of one interrupt index while the guest has it on. */
export class MessageVectors {
  readonly #vm: Vm
  readonly #irq: InterruptIndex
  readonly #shortfalls: Shortfalls
  readonly #vectors = new Map<number, Vector>()
  /** MSI's eventfds, where they are fewer than the guest's vectors. */
  #shared: EventFd[] = []
  /** Vectors that the device has got so far. */
  #capacity = 0
  /** What the host has refused already: it is not asked again at every wish of the guest. */
  #ceiling = Infinity

  /** @param wanted vectors that the guest can come to use */
  constructor(
    vm: Vm,
    irq: InterruptIndex,
    wanted: number,
    messages: Messages,
    shortfalls = new Shortfalls(irq.name),
  ) {
    this.#vm = vm
    this.#irq = irq
    this.#shortfalls = shortfalls
    const count = Math.min(wanted, irq.count)
    try {
      if (irq.name === 'msi') this.#enableAll(count)
      else this.#enable(count)
      const changes = Array.from({ length: count }, (_, vector) => [vector, messages(vector)] as const)
      for (const error of this.applyAll(changes)) this.#refused(error)
    } catch (error) {
      this.#closeAfter()
      throw error
    }
  }

  /**
   * Lets a vector through as a message, what arrived before included; or (null) holds it back.
   * @throws VfioError when the host cannot follow: the vector then has no interrupts
   */
  apply(vector: number, message: MsiMessage | null): void {
    const [refusal] = this.applyAll([[vector, message]])
    if (refusal !== undefined) throw refusal
  }

  /**
   * `apply` for many, with one write of the machine's routing table.
   * @returns the refusals, one for each vector that now has no interrupts
   */
  applyAll(changes: readonly VectorChange[]): VfioError[] {
    const refusals: VfioError[] = []
    const wanted: Wanted[] = []
    const fresh: Wanted[] = []
    for (const [vector, message] of changes) {
      if (vector >= this.#irq.count) continue
      const known = this.#vectors.get(vector)
      if (message === null) {
        known?.delivery?.mask()
        continue
      }
      refusing(refusals, () => {
        const held = known ?? { eventfd: new EventFd(), delivery: undefined, route: undefined }
        const each = { vector, held, message }
        wanted.push(each)
        if (known === undefined) fresh.push(each)
      })
    }
    this.#route(
      wanted.filter(({ held }) => !(held.delivery instanceof Relay)),
      refusals,
    )
    for (const each of wanted) this.#letThrough(each, refusals)
    for (const each of fresh) this.#attach(each, refusals)
    return refusals
  }

  /** Whether a vector that is held back has an interrupt waiting; null when only the device knows. */
  pending(vector: number): boolean | null {
    const held = this.#vectors.get(vector)
    if (held === undefined) return null
    return held.delivery === undefined ? isSignalled(held.eventfd) : held.delivery.pending
  }

  /** Turns them off: first the device's, then what they were wired to. */
  close(): void {
    const vectors = [...this.#vectors.values()]
    this.#vectors.clear()
    try {
      this.#irq.disable()
    } finally {
      try {
        this.#disconnect(vectors)
      } finally {
        for (const { eventfd } of vectors) eventfd.close()
        for (const eventfd of this.#shared) eventfd.close()
        this.#shared = []
      }
    }
  }

  /** After an error that says more than one of closing would. */
  #closeAfter(): void {
    try {
      this.close()
    } catch {
      // See above.
    }
  }

  #disconnect(vectors: readonly Vector[]): void {
    for (const { delivery } of vectors) delivery?.close()
    const routes = vectors.flatMap(({ route }) => route ?? [])
    if (routes.length > 0 && !this.#vm.closed) this.#vm.routing.batch({ close: routes })
  }

  /**
   * Routes each to its message, by one write of the table. Where the kernel takes not all of them, halves are tried, down to
   * those that it does not take.
   */
  #route(wanted: readonly Wanted[], refusals: VfioError[]): void {
    const [first] = wanted
    if (first === undefined) return
    const without = wanted.filter(({ held }) => held.route === undefined)
    try {
      const routes = this.#vm.routing.batch({
        add: without.map(({ message }) => message),
        update: wanted.flatMap(({ held: { route }, message }) =>
          route === undefined ? [] : [[route, message] as const],
        ),
      })
      without.forEach(({ held }, i) => (held.route = routes[i]))
    } catch (error) {
      if (!(error instanceof VfioError)) throw error
      if (wanted.length === 1) {
        this.#unrouted(first, error, refusals)
        return
      }
      const half = wanted.length >> 1
      this.#route(wanted.slice(0, half), refusals)
      this.#route(wanted.slice(half), refusals)
    }
  }

  /** Where the table is full, user space delivers. A message that KVM cannot send goes nowhere, as on the bus. */
  #unrouted({ vector, held }: Wanted, error: VfioError, refusals: VfioError[]): void {
    if (held.route === undefined && error.errno === ENOSPC) {
      const what = 'the routing table is full, user space delivers interrupts'
      refusing(refusals, () => {
        const relay = this.#relay()
        relayFrom(held.eventfd, [relay])
        held.delivery = relay
        this.#shortfalls.count('relayedVectors', `${what} (${this.#irq.name} ${String(vector)})`, error)
      })
      return
    }
    refusals.push(error)
    refusing(refusals, () => {
      this.#giveBack(held)
    })
  }

  #letThrough({ held, message }: Wanted, refusals: VfioError[]): void {
    refusing(refusals, () => {
      const { route, delivery } = held
      if (delivery instanceof Relay) delivery.update(message)
      else if (route === undefined) return
      if (delivery === undefined && route !== undefined)
        held.delivery = new MsiWire(this.#vm, held.eventfd, route, { masked: false, owned: false })
      else delivery?.unmask()
    })
  }

  #relay(): Relay {
    return new Relay(this.#vm, (error) => {
      this.#refused(error)
    })
  }

  #refused(error: VfioError): void {
    this.#shortfalls.count('refusedInterrupts', `${this.#irq.name} is not delivered`, error)
  }

  /** A vector that cannot be let through has no route, lest it lead to an old message. */
  #giveBack(held: Vector): void {
    const { route, delivery } = held
    if (route === undefined) return
    delivery?.close()
    held.delivery = undefined
    held.route = undefined
    route.close()
  }

  /**
   * Gives the device a new vector's eventfd. The wire came first: an interrupt that the device kept back comes with the
   * eventfd.
   */
  #attach({ vector, held }: Wanted, refusals: VfioError[]): void {
    if (held.delivery !== undefined) {
      this.#vectors.set(vector, held)
      const given = refusing(refusals, () => {
        this.#give(vector, held.eventfd)
      })
      if (given) return
      this.#vectors.delete(vector)
    }
    refusing(refusals, () => {
      this.#disconnect([held])
    })
    held.eventfd.close()
  }

  /**
   * MSI: what the device sends to a vector without an eventfd is lost, so that each has one from the start. With fewer than
   * the guest's, which of them the device uses for what is its own affair: each interrupt goes to all of the guest's
   * vectors. One too many makes a handler look; one too few makes it wait for ever.
   */
  #enableAll(count: number): void {
    let shortage: VfioError | undefined
    for (let granted = count; ;) {
      const eventfds = Array.from({ length: granted }, () => new EventFd())
      try {
        this.#irq.enable(eventfds)
        this.#hold(count, eventfds)
        const what = `the guest's ${String(count)} MSI vectors share ${String(granted)} of the host`
        if (shortage !== undefined) this.#shortfalls.count('sharedVectors', what, shortage, count - granted)
        return
      } catch (error) {
        for (const eventfd of eventfds) eventfd.close()
        if (!(error instanceof VfioError) || error.errno !== ENOSPC || granted === 1) throw error
        shortage = error
        granted = powerOfTwo(Math.min(error.available ?? granted >> 1, granted - 1))
      }
    }
  }

  #hold(count: number, eventfds: EventFd[]): void {
    const [first] = eventfds
    if (first === undefined) return
    if (eventfds.length === count) {
      eventfds.forEach((eventfd, vector) => {
        this.#vectors.set(vector, { eventfd, delivery: undefined, route: undefined })
      })
      return
    }
    const relays = Array.from({ length: count }, () => this.#relay())
    for (const eventfd of eventfds) relayFrom(eventfd, relays)
    relays.forEach((delivery, vector) => {
      this.#vectors.set(vector, { eventfd: first, delivery, route: undefined })
    })
    this.#shared = eventfds
  }

  /**
   * MSI-X: turns it on without eventfds. The device then keeps interrupts in its own pending bits, and sends them when their
   * vector gets one.
   */
  #enable(wanted: number): void {
    // Where the set can grow, a vector costs nothing before it is used.
    const first = this.#irq.info.flags.noresize ? wanted : 1
    try {
      this.#grow(first)
    } catch (error) {
      // The host is short of vectors: take them as they are used.
      if (!(error instanceof VfioError) || first === 1) throw error
      this.#grow(1)
    }
  }

  #grow(capacity: number): void {
    this.#irq.enable(Array.from({ length: capacity }, (_, i) => this.#vectors.get(i)?.eventfd ?? null))
    this.#capacity = capacity
  }

  #give(vector: number, eventfd: EventFd): void {
    if (vector < this.#capacity || !this.#irq.info.flags.noresize) {
      this.#irq.set(vector, eventfd)
      return
    }
    if (vector >= this.#ceiling)
      throw new VfioError(ENOSPC, 'VFIO_DEVICE_SET_IRQS', { subject: this.#irq.name })
    const before = this.#capacity
    this.#irq.disable()
    try {
      this.#grow(vector + 1)
    } catch (error) {
      this.#ceiling = vector
      this.#grow(before)
      throw error
    } finally {
      // What the others sent in between is lost: one interrupt too many for each makes its handler look.
      for (const [other, each] of this.#vectors) if (other !== vector) each.eventfd.signal()
    }
  }
}

function powerOfTwo(most: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(1, most)))
}

/** Runs a step; the kernel's refusal is added to the others, and the answer is false. */
function refusing(refusals: VfioError[], step: () => void): boolean {
  try {
    step()
    return true
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
    refusals.push(error)
    return false
  }
}
