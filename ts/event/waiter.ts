// SignalWaiter: blocks its thread until an eventfd is signalled. Owns the indices and the results' memory; the waiting is
// native.
import { Handle, type ShareToken, SharedHandle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { array, instance, integer, options as optionsOf } from '../validate.js'
import type { EventFd } from './eventfd.js'

export interface WaiterOptions {
  /**
   * How long a wait looks for events before it sleeps, 0 to 10000 microseconds (default 0). It occupies its core for so
   * long, and spares the sleep and the waking when an event comes within that time.
   */
  spinMicros?: number
}

/** What the waits through one object did so far. */
export interface WaiterCounters {
  /** Calls of wait(). */
  waits: number
  /** Entries in the results of all of them. */
  events: number
  /** The sum of their counts. */
  signals: number
  /** Waits that ended before they slept, because the spin found something. */
  spun: number
  /** Waits that wake() ended. */
  woken: number
}

interface Watch {
  index: number
  forget: () => void
}

const MOST_MILLISECONDS = 2 ** 31 - 1

/**
 * Waits for eventfds by blocking the thread, which is meant for a Worker: an event costs no turn of the event loop. A
 * wait takes the counters of up to 1024 eventfds that are ready, without allocating; those that are left come first at
 * the next. Terminating the Worker or ending the process ends a wait within 50 milliseconds.
 */
export class SignalWaiter extends SharedHandle<'SignalWaiter'> {
  /** The indices of the eventfds that the last wait() found, in its first entries: the order of the constructor's list. */
  readonly ready: Uint32Array
  /** What their counters were: `counts[i]` is that of `ready[i]`. Exact to 2^53. */
  readonly counts: Float64Array
  // The waits, events, signals, spun and woken of the native results, in this order.
  readonly #totals: Float64Array
  // The length of the last results, and whether wake() ended the wait.
  readonly #last: Uint32Array
  readonly #sources: (EventFd | undefined)[] = []
  readonly #watches = new Map<EventFd, Watch>()
  readonly #wait: (milliseconds?: number) => void

  /**
   * @param eventfds what to wait for; the place in the list is the index by which results name it
   * @throws VfioError EBUSY (`eventfd-in-use`) when something else reads one of them already
   */
  constructor(eventfds: readonly EventFd[] = [], options?: WaiterOptions) {
    array(eventfds, 'eventfds')
    for (const [i, eventfd] of eventfds.entries()) instance(eventfd, Handle, `eventfds[${String(i)}]`)
    super(made(options), 'SignalWaiter')
    const { waiterBatch, waiterReadyOffset } = addon()
    const { wait, results } = addon().waiterFunction(this.native)
    this.counts = new Float64Array(results, 0, waiterBatch)
    this.ready = new Uint32Array(results, waiterReadyOffset, waiterBatch)
    this.#totals = new Float64Array(results, waiterBatch * 8, 5)
    this.#last = new Uint32Array(results, waiterReadyOffset + waiterBatch * 4, 2)
    this.#wait = wait
    try {
      for (const eventfd of eventfds) this.add(eventfd)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** The waiter behind a token, in this environment: to wake() it, or to add to it, while another Worker waits. */
  static claim(token: ShareToken): SignalWaiter {
    return SharedHandle.claimed(token, 'SignalWaiter', (native) => {
      pending = native
      try {
        return new SignalWaiter()
      } finally {
        pending = undefined
      }
    })
  }

  /** How many eventfds this object added. */
  get size(): number {
    return this.#watches.size
  }

  /** True when wake() ended the last wait(). */
  get woken(): boolean {
    return this.#last[1] === 1
  }

  get counters(): Readonly<WaiterCounters> {
    const [waits = 0, events = 0, signals = 0, spun = 0, woken = 0] = this.#totals
    return { waits, events, signals, spun, woken }
  }

  /**
   * Waits for an eventfd too, from now on; a wait that runs in another Worker included.
   * @returns its index: the lowest that was never used, or one whose eventfd was removed
   * @throws VfioError EBUSY (`eventfd-in-use`) when something else reads it already
   */
  add(eventfd: EventFd): number {
    instance(eventfd, Handle, 'eventfd')
    const index = addon().waiterAdd(this.native, eventfd.native)
    const forget = eventfd.beforeClose(() => this.remove(eventfd))
    this.#sources[index] = eventfd
    this.#watches.set(eventfd, { index, forget })
    return index
  }

  /** Stops waiting for an eventfd; false when this object did not add it. Closing the eventfd does the same. */
  remove(eventfd: EventFd): boolean {
    instance(eventfd, Handle, 'eventfd')
    const watch = this.#watches.get(eventfd)
    if (watch === undefined) return false
    watch.forget()
    this.#watches.delete(eventfd)
    this.#sources[watch.index] = undefined
    addon().waiterRemove(this.native, watch.index)
    return true
  }

  /** The eventfd of an index, where this object added it. */
  eventfd(index: number): EventFd | undefined {
    return this.#sources[integer(index, 'index', 0, 0xffff_ffff)]
  }

  /**
   * Blocks until an eventfd is signalled, until wake(), or until the time is over, and takes the counters of those that
   * are ready into `ready` and `counts`.
   * @param timeoutMs 0 to 2^31 - 1 milliseconds; 0 only looks, without spinning. Without it, for ever.
   * @returns how many entries there are; 0 when the time is over, or wake() came (see `woken`) and no event
   * @throws VfioError EBUSY when another Worker waits with this waiter
   */
  wait(timeoutMs?: number): number {
    // Before an event is taken that nobody could see.
    if (this.#last.length === 0)
      throw new TypeError('the buffer of the results of SignalWaiter was transferred away')
    // Without an argument where there is none: looking at it in the addon costs a part of the way to the event.
    if (timeoutMs === undefined || timeoutMs === Infinity) this.#wait()
    else this.#wait(integer(timeoutMs, 'timeoutMs', 0, MOST_MILLISECONDS))
    return this.#last[0] ?? 0
  }

  /** Ends the wait() that runs, in whichever Worker, or the next one if none does. Several before that count as one. */
  wake(): void {
    addon().waiterWake(this.native)
  }

  /**
   * Lets go of the eventfds that this object added, which stay open, and of the waiter. A wait in another Worker goes on
   * without them: wake() it first. Idempotent.
   */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  protected override beforeRelease(): void {
    for (const eventfd of [...this.#watches.keys()]) this.remove(eventfd)
  }
}

// How claim hands its handle to the public constructor, which users call without one.
let pending: NativeHandle | undefined

function made(options: WaiterOptions | undefined): NativeHandle {
  if (pending !== undefined) return pending
  const { spinMicros = 0 } = optionsOf(options, 'options')
  return addon().waiterOpen(integer(spinMicros, 'spinMicros', 0, addon().waiterMostSpinMicros))
}
