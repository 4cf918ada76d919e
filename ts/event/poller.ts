// SignalPoller: many eventfds watched by libuv, one call into JavaScript per wake. Owns the slots and the order of
// delivery; the draining is native.
import { addon, type NativeHandle } from '../native/index.js'
import { EBADF, VfioError } from '../errors.js'
import { callable, instance, integer, options as optionsOf } from '../validate.js'
import { Handle } from '../handle.js'

/** What can be watched: an EventFd, or another object whose descriptor says when there is something to take. */
export interface SignalSource {
  readonly closed: boolean
  readonly fd: number
  /** @internal */
  readonly native: NativeHandle
  /** @internal */
  beforeClose(undo: () => void): () => void
  /** Returns a count that was taken and not delivered. @internal */
  giveBack(count: number): void
}

/** Called with the count that was taken, for a socket the events of epoll, and with where it came from. */
export type HandlerOf<Source> = (count: number, source: Source) => unknown

export interface PollerOptions {
  /**
   * How long a wake looks for more events before it gives the event loop back, in microseconds: 0 to 10000 (default 0).
   * What comes in that time is delivered at once; everything else in the event loop waits meanwhile.
   */
  spinMicros?: number
}

/** What a poller did so far. */
export interface PollerCounters {
  /** Calls from the event loop, or from the spin after one. */
  wakes: number
  /** Handler calls. */
  events: number
  /** The sum of the counts delivered. */
  signals: number
  /** The most events that one wake brought. */
  mostPerWake: number
}

interface Watch {
  source: SignalSource
  handler: HandlerOf<SignalSource>
  slot: number
  forget: () => void
}

const forgotten = new FinalizationRegistry<NativeHandle>((native) => {
  process.emitWarning('SignalPoller was garbage-collected without close(); it is closed now', {
    type: 'VfioLeakWarning',
    detail: 'Call close(), or declare it with `using`.',
  })
  addon().pollerClose(native)
})

/**
 * Calls a handler in the event loop when an eventfd is signalled. A handler gets the counter's value, so signals that
 * coalesce are not lost. Every eventfd that is ready is served once per wake, none before its turn.
 */
export class SignalPoller {
  readonly #native: NativeHandle
  // What the native side holds: the poller only while it watches something, so that a forgotten one can be collected.
  readonly #busy: { poller: SignalPoller | undefined } = { poller: undefined }
  readonly #slots: Uint32Array
  readonly #counts: Float64Array
  readonly #watches: (Watch | undefined)[] = []
  readonly #bySource = new Map<SignalSource, Watch>()
  #free: number[] = []
  // Slots given up during a dispatch: the rest of the batch may still name them.
  #freedInDispatch: number[] = []
  #dispatching = false
  #cursor = 0
  #ready = 0
  #referenced = true
  #closed = false
  readonly #counters: PollerCounters = { wakes: 0, events: 0, signals: 0, mostPerWake: 0 }

  constructor(options?: PollerOptions) {
    const { spinMicros = 0 } = optionsOf(options, 'options')
    integer(spinMicros, 'spinMicros', 0, addon().pollerMostSpinMicros)
    const size = addon().pollerRingSize
    const ring = new ArrayBuffer(size * 12)
    this.#counts = new Float64Array(ring, 0, size)
    this.#slots = new Uint32Array(ring, size * 8, size)
    const busy = this.#busy
    this.#native = addon().pollerOpen(
      ring,
      (count) => {
        const poller = busy.poller
        if (poller !== undefined) poller.#dispatch(count)
      },
      spinMicros,
    )
    forgotten.register(this, this.#native, this)
  }

  get closed(): boolean {
    return this.#closed
  }

  /** How many eventfds are watched. */
  get size(): number {
    return this.#bySource.size
  }

  get counters(): Readonly<PollerCounters> {
    return { ...this.#counters }
  }

  /**
   * Watches an eventfd. May be called inside a handler.
   * @throws VfioError EBUSY when something else reads it already
   */
  add<Source extends SignalSource>(eventfd: Source, handler: HandlerOf<Source>): void {
    this.#checkOpen()
    instance(eventfd, Handle, 'eventfd')
    callable(handler, 'handler')
    const slot = this.#free.pop() ?? this.#watches.length
    try {
      addon().pollerAdd(this.#native, eventfd.native, slot)
    } catch (error) {
      this.#free.push(slot)
      if (slot === this.#watches.length) this.#watches.push(undefined)
      throw error
    }
    const forget = eventfd.beforeClose(() => this.remove(eventfd))
    // It is called with this source and no other.
    const watch = { source: eventfd, handler: handler as HandlerOf<SignalSource>, slot, forget }
    this.#watches[slot] = watch
    this.#bySource.set(eventfd, watch)
    this.#applyReference()
  }

  /**
   * Stops watching; false when it was not watched. A count that was taken but not delivered yet, because this is called
   * from a handler of the same wake, goes back into the eventfd.
   */
  remove(eventfd: SignalSource): boolean {
    instance(eventfd, Handle, 'eventfd')
    const watch = this.#bySource.get(eventfd)
    if (watch === undefined) return false
    const { slot, forget } = watch
    forget()
    this.#bySource.delete(eventfd)
    this.#watches[slot] = undefined
    if (!this.#closed) addon().pollerRemove(this.#native, slot)
    for (let i = this.#cursor; i < this.#ready; i++) {
      if (this.#slots[i] === slot) eventfd.giveBack(this.#counts[i] as number)
    }
    ;(this.#dispatching ? this.#freedInDispatch : this.#free).push(slot)
    this.#applyReference()
    return true
  }

  /** Whether a socket's handler is called too when the socket takes bytes again. @internal */
  watchWritable(source: SignalSource, writable: boolean): void {
    const watch = this.#bySource.get(source)
    if (watch !== undefined) addon().pollerWritable(this.#native, watch.slot, writable)
  }

  /** Keeps the process alive while something is watched (the default). */
  ref(): this {
    this.#referenced = true
    this.#applyReference()
    return this
  }

  /** Lets the process end although something is watched. */
  unref(): this {
    this.#referenced = false
    this.#applyReference()
    return this
  }

  /** Stops watching everything. The eventfds stay open. Idempotent. */
  close(): void {
    if (this.#closed) return
    for (const eventfd of [...this.#bySource.keys()]) this.remove(eventfd)
    this.#closed = true
    forgotten.unregister(this)
    addon().pollerClose(this.#native)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #checkOpen(): void {
    if (this.#closed) throw new VfioError(EBADF, 'closed', { subject: 'SignalPoller' })
  }

  #applyReference(): void {
    this.#busy.poller = this.#bySource.size > 0 ? this : undefined
    if (!this.#closed) addon().pollerReference(this.#native, this.#referenced && this.#bySource.size > 0)
  }

  #dispatch(ready: number): void {
    const counters = this.#counters
    counters.wakes++
    if (ready > counters.mostPerWake) counters.mostPerWake = ready
    this.#dispatching = true
    this.#ready = ready
    this.#cursor = 0
    while (this.#cursor < this.#ready) {
      const i = this.#cursor++
      const watch = this.#watches[this.#slots[i] as number]
      if (watch === undefined) continue
      const count = this.#counts[i] as number
      counters.events++
      counters.signals += count
      try {
        watch.handler(count, watch.source)
      } catch (error) {
        // To the process as an uncaught exception, without costing the events behind it their delivery.
        queueMicrotask(() => {
          throw error
        })
      }
    }
    this.#ready = 0
    this.#cursor = 0
    this.#dispatching = false
    if (this.#freedInDispatch.length > 0) {
      this.#free = this.#free.concat(this.#freedInDispatch)
      this.#freedInDispatch = []
    }
  }
}

let shared: { waiting: SignalPoller; background: SignalPoller } | undefined

/** The environment's own pollers: one that keeps the process alive, one that does not. @internal */
export function environmentPollers(): { waiting: SignalPoller; background: SignalPoller } {
  return (shared ??= { waiting: new SignalPoller(), background: new SignalPoller().unref() })
}
