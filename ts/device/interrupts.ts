// InterruptIndex: one kind of interrupt of a device (INTx, MSI, MSI-X, error, request), its vectors and their eventfds.
import { attempt, VfioError, type VfioErrorContext } from '../errors.js'
import { EventFd } from '../event/eventfd.js'
import { SignalPoller, environmentPollers } from '../event/poller.js'
import { array, callable, instance, integer, options as optionsOf } from '../validate.js'
import { IRQ_ACTION, type IrqData } from './backend.js'
import type { DeviceCore } from './core.js'
import type { DeviceBus, IrqInfo } from '../uapi/vfio/device-info.js'
import { irqName } from './names.js'

export type { PciIrqName } from './names.js'

/** A range of vectors to enable. */
export interface EnableOptions {
  /** The first vector (default 0). */
  start?: number
  /** How many vectors get an eventfd of their own making... */
  count?: number
  /** ...or the eventfds for them; null leaves a vector without. They stay the caller's. */
  eventfds?: readonly (EventFd | null)[]
}

/** Called for an interrupt; a promise it returns counts as the time it takes. */
export type InterruptHandler = (count: number) => unknown

export interface ListenOptions {
  /** The vector (default 0). */
  vector?: number
  /** The poller to wait on (default: the environment's own, which keeps the process alive). */
  poller?: SignalPoller
}

/** A handler at work. */
export interface InterruptListener {
  /** Stops calling the handler. The vector stays enabled. Idempotent. */
  close(): void
  [Symbol.dispose](): void
}

interface Vector {
  eventfd: EventFd
  /** Made by enable(), hence closed by disable(). */
  own: boolean
}

/** Of INTx, MSI and MSI-X, the last. */
const LAST_EXCLUSIVE = 2

/** An eventfd that enable() made keeps the interrupt, and with it the device, for as long as somebody holds it. */
const keepers = new WeakMap<EventFd, InterruptIndex>()

/**
 * One interrupt index of a device (VFIO_DEVICE_SET_IRQS). INTx, MSI and MSI-X exclude each other.
 */
export class InterruptIndex {
  readonly name: string
  readonly index: number
  /** VFIO_DEVICE_GET_IRQ_INFO. */
  readonly info: IrqInfo
  readonly #device: DeviceCore
  readonly #exclusive: boolean
  readonly #vectors = new Map<number, Vector>()
  readonly #listeners = new Set<InterruptListener>()
  #unmaskFd: EventFd | undefined
  #enabled = false

  /** @internal */
  constructor(info: IrqInfo, device: DeviceCore, bus: DeviceBus = 'pci') {
    this.info = info
    this.index = info.index
    this.name = irqName(info.index, bus)
    this.#exclusive = bus === 'pci' && info.index <= LAST_EXCLUSIVE
    this.#device = device
  }

  /** How many vectors the device has here. */
  get count(): number {
    return this.info.count
  }

  get enabled(): boolean {
    return this.#enabled
  }

  /** The eventfds by vector, for the vectors that have one. */
  get eventfds(): ReadonlyMap<number, EventFd> {
    return new Map([...this.#vectors].map(([vector, { eventfd }]) => [vector, eventfd]))
  }

  /**
   * Enables vectors and gives their eventfds.
   * @param what a number of vectors from 0 on, which get eventfds of their own (closed again by `disable()`); the eventfds
   *   to use, which stay the caller's; or a range
   * @throws RangeError for more vectors than the device has
   * @throws VfioError EINVAL when another of INTx, MSI and MSI-X is enabled; ENOSPC when the host has not that many to spare:
   *   `available` of them, where it says so
   */
  enable(count: number): EventFd[]
  enable(eventfds: readonly (EventFd | null)[]): EventFd[]
  enable(range: EnableOptions): EventFd[]
  enable(what: number | readonly (EventFd | null)[] | EnableOptions = 1): EventFd[] {
    const { start, given } = this.#wanted(what)
    const made: EventFd[] = []
    let eventfds: (EventFd | null)[]
    try {
      eventfds = given.map((entry) => {
        if (entry !== 'new') return entry
        const eventfd = new EventFd()
        made.push(eventfd)
        return eventfd
      })
      this.#assignInKernel(start, eventfds)
    } catch (error) {
      for (const eventfd of made) eventfd.close()
      throw error
    }
    this.#markEnabled()
    eventfds.forEach((eventfd, i) => {
      this.#assign(start + i, eventfd, eventfd !== null && made.includes(eventfd))
    })
    return eventfds.filter((eventfd) => eventfd !== null)
  }

  /**
   * Gives one vector another eventfd, or none. Other vectors are not touched.
   * @param eventfd stays the caller's
   */
  set(vector: number, eventfd: EventFd | null): void {
    this.#checkVector(vector)
    if (eventfd !== null) instance(eventfd, EventFd, 'eventfd')
    this.#assignInKernel(vector, [eventfd])
    this.#markEnabled()
    this.#assign(vector, eventfd, false)
  }

  /** Holds a vector back (INTx; MSI and MSI-X where `info.flags.maskable`). */
  mask(vector = 0): void {
    this.#set(IRQ_ACTION.mask, this.#checkVector(vector), 1, null)
  }

  /** Lets a vector through again. An INTx is masked by the kernel each time it fires. */
  unmask(vector = 0): void {
    this.#set(IRQ_ACTION.unmask, this.#checkVector(vector), 1, null)
  }

  /** Lets signalling `eventfd` unmask the interrupt in the kernel (INTx); null ends that. It stays the caller's. */
  setUnmaskEventFd(eventfd: EventFd | null): void {
    if (eventfd !== null) instance(eventfd, EventFd, 'eventfd')
    this.#set(IRQ_ACTION.unmask, 0, 1, [eventfd])
    this.#unmaskFd = eventfd ?? undefined
  }

  /** The eventfd that unmasks, if one was set. */
  get unmaskEventFd(): EventFd | undefined {
    return this.#unmaskFd
  }

  /**
   * Signals a vector's eventfd from the kernel, as the device would, or those of several vectors in one call: a loop-back
   * test.
   */
  trigger(vectors: number | readonly number[] = 0): void {
    if (!Array.isArray(vectors)) {
      const vector = this.#checkVector(vectors)
      this.#set(IRQ_ACTION.trigger, vector, 1, null)
      return
    }
    const named = array<number>(vectors, 'vectors').map((vector) => this.#checkVector(vector))
    if (named.length === 0) throw new RangeError('vectors must name one')
    const start = Math.min(...named)
    const flags = new Uint8Array(Math.max(...named) - start + 1)
    for (const vector of named) flags[vector - start] = 1
    this.#set(IRQ_ACTION.trigger, start, flags.length, flags)
  }

  /**
   * Calls a handler for a vector's interrupts, enabling it if nothing here is. An interrupt that the kernel masks when it
   * fires (INTx) is unmasked after the handler has returned, or its promise has settled: a device that keeps the line up
   * costs one call at a time, not a storm.
   */
  listen(handler: InterruptHandler, options?: ListenOptions): InterruptListener {
    callable(handler, 'handler')
    const { vector = 0, poller = environmentPollers().waiting } = optionsOf(options, 'options')
    instance(poller, SignalPoller, 'poller')
    this.#checkVector(vector)
    if (!this.#enabled) this.enable({ start: vector, count: 1 })
    let assigned = this.#vectors.get(vector)
    if (assigned === undefined) {
      const eventfd = new EventFd()
      try {
        this.set(vector, eventfd)
      } catch (error) {
        eventfd.close()
        throw error
      }
      this.#assign(vector, eventfd, true)
      assigned = { eventfd, own: true }
    }
    const { eventfd } = assigned
    let closed = false
    // Also for a listener that was closed meanwhile, by its own handler for instance: the kernel masked the interrupt for
    // whoever listens next too, and nobody else will take that back.
    const unmask = (): void => {
      if (this.#enabled) this.unmask(vector)
    }
    poller.add(eventfd, this.info.flags.automasked ? automasked(handler, unmask) : handler)
    const listener = {
      close: (): void => {
        if (closed) return
        closed = true
        this.#listeners.delete(listener)
        if (!poller.closed) poller.remove(eventfd)
      },
      [Symbol.dispose]: (): void => {
        listener.close()
      },
    }
    this.#listeners.add(listener)
    return listener
  }

  /** Turns the index off, ends its listeners and closes the eventfds that `enable()` made. Idempotent. */
  disable(): void {
    for (const listener of [...this.#listeners]) listener.close()
    if (this.#enabled) {
      // Count 0 means "off" only to an index that is on: elsewhere it is EINVAL.
      this.#set(IRQ_ACTION.trigger, 0, 0, null)
      this.#enabled = false
      if (this.#device.exclusive === this) this.#device.exclusive = undefined
    }
    this.#drop()
  }

  /** The device closes: the kernel turns the interrupts off with it. @internal */
  closeWithDevice(off: boolean): void {
    try {
      if (off) this.disable()
    } finally {
      for (const listener of [...this.#listeners]) listener.close()
      this.#enabled = false
      this.#drop()
    }
  }

  #drop(): void {
    for (const { eventfd, own } of this.#vectors.values()) if (own) eventfd.close()
    this.#vectors.clear()
    this.#unmaskFd = undefined
  }

  #wanted(what: unknown): { start: number; given: ('new' | EventFd | null)[] } {
    if (typeof what === 'number') return this.#fresh(0, what)
    if (Array.isArray(what)) return this.#given(0, what)
    if (typeof what !== 'object' || what === null) {
      throw new TypeError(
        'enable() takes a number of vectors, an array of eventfds, or { start, count | eventfds }',
      )
    }
    const { start = 0, count, eventfds } = what as EnableOptions
    integer(start, 'start', 0, Math.max(0, this.count - 1))
    if (eventfds === undefined) return this.#fresh(start, count ?? 1)
    if (count !== undefined) throw new TypeError('give count or eventfds, not both')
    if (!Array.isArray(eventfds)) throw new TypeError('eventfds must be an array')
    return this.#given(start, eventfds)
  }

  #fresh(start: number, count: number): { start: number; given: 'new'[] } {
    this.#checkCount(start, count)
    return { start, given: Array.from({ length: count }, () => 'new' as const) }
  }

  #given(start: number, eventfds: readonly unknown[]): { start: number; given: (EventFd | null)[] } {
    this.#checkCount(start, eventfds.length)
    return {
      start,
      given: eventfds.map((each, i) =>
        each === null ? null : instance(each, EventFd, `eventfds[${String(i)}]`),
      ),
    }
  }

  #checkCount(start: number, count: number): void {
    if (this.count === 0) throw new RangeError(`the device has no ${this.name} interrupt`)
    integer(count, 'the number of vectors', 1, this.count - start)
  }

  #checkVector(vector: unknown): number {
    if (this.count === 0) throw new RangeError(`the device has no ${this.name} interrupt`)
    return integer(vector, 'vector', 0, this.count - 1)
  }

  #assign(vector: number, eventfd: EventFd | null, own: boolean): void {
    const held = this.#vectors.get(vector)
    if (held?.own === true && held.eventfd !== eventfd) held.eventfd.close()
    if (eventfd === null) this.#vectors.delete(vector)
    else this.#vectors.set(vector, { eventfd, own })
    if (eventfd !== null && own) keepers.set(eventfd, this)
  }

  #markEnabled(): void {
    this.#enabled = true
    if (this.#exclusive) this.#device.exclusive = this
  }

  /**
   * Where it fails midway (no vector to spare, no memory), the kernel takes those of the range that it has been through off
   * their eventfds: they get the old ones back. EINVAL comes before it has touched any.
   */
  #assignInKernel(start: number, eventfds: readonly (EventFd | null)[]): void {
    try {
      this.#set(IRQ_ACTION.trigger, start, eventfds.length, eventfds)
    } catch (error) {
      if (!(error instanceof VfioError) || error.code !== 'EINVAL') this.#putBack(start, eventfds.length)
      throw error
    }
  }

  #putBack(start: number, count: number): void {
    for (const [vector, { eventfd }] of this.#vectors) {
      if (vector < start || vector >= start + count || eventfd.closed) continue
      try {
        this.#set(IRQ_ACTION.trigger, vector, 1, [eventfd])
      } catch {
        // What was refused first is what the caller is to know.
      }
    }
  }

  #set(action: number, start: number, count: number, data: IrqData): void {
    attempt(
      (error) => this.#context(error, start, count),
      () => {
        this.#device.backend.setIrqs(action, this.index, start, count, data)
      },
    )
  }

  #context(error: VfioError, start: number, count: number): VfioErrorContext {
    const vectors =
      count === 1 ? `vector ${String(start)}` : `vectors ${String(start)}-${String(start + count - 1)}`
    const subject = `${this.name} ${vectors} of ${this.#device.label}`
    const other = this.#device.exclusive
    if (error.available !== undefined)
      return {
        subject,
        remedy: `The host has ${String(error.available)} vectors left: enable at most that many.`,
      }
    if (error.code === 'EINVAL' && other !== undefined && other !== this && this.index <= 2) {
      return {
        subject,
        remedy: `${other.name} is enabled, and only one of INTx, MSI and MSI-X can be: disable it first.`,
      }
    }
    if (error.code === 'EINVAL' && !this.#enabled)
      return { subject, remedy: 'The interrupt is not enabled: call enable() first.' }
    if (error.code === 'EINVAL' && this.info.flags.noresize) {
      return {
        subject,
        remedy: 'The set of vectors cannot grow while enabled: disable() and enable more at once.',
      }
    }
    if (error.code === 'ENOTTY')
      return { subject, remedy: 'The device does not support this action for this interrupt.' }
    return { subject }
  }
}

function automasked(handler: InterruptHandler, unmask: () => void): InterruptHandler {
  return (count) => {
    let result: unknown
    try {
      result = handler(count)
    } catch (error) {
      unmask()
      throw error
    }
    if (result instanceof Promise) return result.finally(unmask)
    unmask()
    return result
  }
}
