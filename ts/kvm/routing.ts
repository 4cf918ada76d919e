// GsiRouting: which interrupt lines (GSIs) of a machine lead where. KVM_SET_GSI_ROUTING replaces the whole table, so the
// addon keeps the one table of a machine, for every Worker; this is the way to it.
import { ENOENT, ENOSPC, VfioError, attempt } from '../errors.js'
import { addon, type NativeHandle } from '../native/index.js'
import { array, instance, integer, object, oneOf, options as optionsOf } from '../validate.js'
import { type MsiMessage, type MsiTarget, messageTarget } from './apic-ids.js'

/** A pin of an in-kernel interrupt chip. */
export interface InterruptPin {
  chip: 'pic-master' | 'pic-slave' | 'ioapic'
  /** 0 to 7 on a PIC, 0 to 23 on the IOAPIC. */
  pin: number
}

/** A GSI that sends a message. */
export interface MsiRoute {
  readonly gsi: number
  /**
   * Sends another message from here on: what a VMM does when its guest rewrites a device's MSI. The same message again costs
   * nothing: the table is not written.
   */
  update(message: MsiMessage): void
  /** Gives the GSI back. @throws VfioError EBUSY while an irqfd is on it */
  close(): void
}

/** A GSI that raises pins of the chip. */
export interface PinRoute {
  readonly gsi: number
  /** Gives the GSI back: those below 24 lead to the pins of their own number again. */
  close(): void
}

/** Several changes of the table. Each message is checked before the kernel is asked. */
export interface RouteChanges {
  /** Messages that get a free GSI each. */
  add?: readonly MsiMessage[]
  /** Other messages for routes. */
  update?: readonly (readonly [route: MsiRoute, message: MsiMessage])[]
  /** Routes that are given back. */
  close?: readonly MsiRoute[]
}

/** A GSI that sends a message, and which one the table has. */
class Route implements MsiRoute {
  readonly gsi: number
  readonly owner: GsiRouting
  /** Null once it was given back: somebody else may have the GSI then. */
  target: MsiTarget | null

  constructor(owner: GsiRouting, gsi: number, target: MsiTarget) {
    this.owner = owner
    this.gsi = gsi
    this.target = target
  }

  update(message: MsiMessage): void {
    this.owner.batch({ update: [[this, message]] })
  }

  close(): void {
    this.owner.batch({ close: [this] })
  }
}

function leadsTo({ target }: Route, [address, data]: MsiTarget): boolean {
  return target !== null && address === target[0] && data === target[1]
}

const SET_ROUTING = 'KVM_SET_GSI_ROUTING'

const CHIPS = { 'pic-master': 0, 'pic-slave': 1, ioapic: 2 } as const
const PIC_PINS = 8
const IOAPIC_PINS = 24

/** The routing table of one machine. */
export class GsiRouting {
  readonly #vm: () => NativeHandle
  readonly #hasPins: () => boolean

  /** @internal */
  constructor(vm: () => NativeHandle, hasPins: () => boolean) {
    this.#vm = vm
    this.#hasPins = hasPins
  }

  /** How many entries the table can hold (KVM_CAP_IRQ_ROUTING), and the GSIs' upper bound. */
  get limit(): number {
    return addon().vmRouting(this.#vm()).limit
  }

  /** How many entries it holds. */
  get size(): number {
    return addon().vmRouting(this.#vm()).entries
  }

  /**
   * A free GSI, or the one asked for, routed to a message. With the split chip GSI 0 to 23 are the pins of the VMM's own
   * IOAPIC: a level-triggered message (bit 15 of data) from one of them ends in an exit of reason `ioapic-eoi`.
   * @param options `gsi` is 0 to limit - 1, from 24 on with the full chip, whose pins have those below
   * @throws VfioError ENOSPC when the table is full, EEXIST when the GSI was given out already
   */
  msi(message: MsiMessage, options?: { gsi?: number }): MsiRoute {
    const target = this.#target(message)
    const { gsi: wanted } = optionsOf(options, 'options')
    if (wanted === undefined) return this.batch({ add: [message] })[0] as MsiRoute
    const gsi = this.#take(integer(wanted, 'gsi', this.#hasPins() ? IOAPIC_PINS : 0, this.limit - 1), target)
    return new Route(this, gsi, target)
  }

  /**
   * Makes many changes by one write of the table (KVM_SET_GSI_ROUTING), which is what a change costs: all of them, or none.
   * @returns the routes of `add`, in order
   * @throws VfioError ENOSPC when the table has not room for all; EBUSY while an irqfd is on one to be given back; ENOENT
   *   for another message for one that was given back
   */
  batch(changes: RouteChanges): MsiRoute[] {
    const { add = [], update = [], close = [] } = object(changes, 'changes')
    const added = array(add, 'changes.add').map((message) => this.#target(message))
    const updated = array(update, 'changes.update')
      .map((pair) => {
        const [route, message] = array(pair, 'an entry of changes.update') as readonly [MsiRoute, MsiMessage]
        return { route: this.#own(route), target: this.#target(message) }
      })
      .filter(({ route, target }) => !leadsTo(route, target))
    const closed = array(close, 'changes.close')
      .map((route) => this.#own(route))
      .filter(({ target }) => target !== null)
    const gone = updated.find(({ route }) => route.target === null)?.route
    if (gone !== undefined) throw new VfioError(ENOENT, SET_ROUTING, { subject: `GSI ${String(gone.gsi)}` })
    // Those that go first make room for those that come.
    const all = [
      ...closed.map(({ gsi }) => [gsi, null] as const),
      ...updated.map(({ route, target }) => [route.gsi, target] as const),
      ...added.map((target) => [null, target] as const),
    ]
    const [first] = all
    if (first === undefined) return []
    const one = first[0] === null ? 'a message' : `GSI ${String(first[0])}`
    const gsis = this.#changing(all.length === 1 ? one : `${String(all.length)} routes`, () =>
      addon().vmChangeRoutes(this.#vm(), all),
    )
    for (const { route, target } of updated) route.target = target
    for (const route of closed) route.target = null
    const fresh = gsis.slice(all.length - added.length)
    return added.map((target, i) => new Route(this, fresh[i] as number, target))
  }

  /**
   * A GSI of one's choice, routed to a pin of the in-kernel chip. GSI 0 to 23 lead to the pins of their number from the
   * start, where the chip is `full`.
   * @param gsi 0 to limit - 1
   * @throws VfioError EEXIST when the GSI was given out already
   */
  pin(gsi: number, target: InterruptPin): PinRoute {
    integer(gsi, 'gsi', 0, this.limit - 1)
    const { chip, pin } = object(target, 'target')
    oneOf(chip, 'target.chip', ['pic-master', 'pic-slave', 'ioapic'])
    integer(pin, 'target.pin', 0, (chip === 'ioapic' ? IOAPIC_PINS : PIC_PINS) - 1)
    if (!this.#hasPins()) throw new TypeError("pins need the in-kernel chip: createVm({ irqchip: 'full' })")
    this.#take(gsi, [CHIPS[chip], pin])
    let open = true
    return {
      gsi,
      close: () => {
        // Somebody else may have the GSI by then.
        if (open) this.#free(gsi)
        open = false
      },
    }
  }

  #target(message: MsiMessage): MsiTarget {
    return messageTarget(this.#vm, message, SET_ROUTING)
  }

  #own(route: MsiRoute): Route {
    const known = instance(route, Route, 'route')
    if (known.owner === this) return known
    throw new TypeError('route must be one of this machine')
  }

  #take(gsi: number, target: readonly (bigint | number)[]): number {
    this.#changing(`GSI ${String(gsi)}`, () => {
      addon().vmTakeRoute(this.#vm(), gsi, target)
    })
    return gsi
  }

  #free(gsi: number): void {
    this.#changing(`GSI ${String(gsi)}`, () => {
      addon().vmFreeRoute(this.#vm(), gsi)
    })
  }

  #changing<T>(subject: string, call: () => T): T {
    return attempt((error) => this.#explain(subject, error), call)
  }

  #explain(subject: string, error: VfioError): { subject: string; remedy?: string } {
    if (error.errno !== ENOSPC) return { subject }
    return {
      subject,
      remedy: `The table holds ${String(this.limit)} entries at most: close routes that are not wired.`,
    }
  }
}
