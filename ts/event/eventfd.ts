// EventFd: a kernel counter that one side adds to and the other takes. Knows how to signal and read; who waits for it is
// SignalPoller's business.
import { type ShareToken, SharedHandle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { boolean, integer, options as optionsOf } from '../validate.js'
import { eventsOf } from './iterator.js'
import type { HandlerOf } from './poller.js'

/** What a poller calls for an eventfd that it watches. */
export type SignalHandler = HandlerOf<EventFd>

export interface EventFdOptions {
  /** The counter's first value, 0 to 4294967295 (default 0). */
  initial?: number
  /** Read takes 1 instead of the whole counter (EFD_SEMAPHORE). */
  semaphore?: boolean
}

/**
 * An eventfd(2), non-blocking and close-on-exec. VFIO signals one for an interrupt, KVM for a doorbell, and either takes
 * one as input; two Workers may signal each other with it.
 */
export class EventFd extends SharedHandle<'EventFd'> {
  #signal: ((value?: number) => void) | undefined
  #read: (() => number) | undefined

  constructor(options?: EventFdOptions) {
    super(made(options), 'EventFd')
  }

  /**
   * Takes ownership of an open eventfd: closing the object closes the descriptor.
   * @throws VfioError EBADF, or EINVAL when the descriptor is not an eventfd
   */
  static fromFd(fd: number): EventFd {
    return EventFd.#adopt(addon().eventfdFromFd(integer(fd, 'fd', 0, 0x7fff_ffff)))
  }

  /** The object behind a token, in this environment. */
  static claim(token: ShareToken): EventFd {
    return SharedHandle.claimed(token, 'EventFd', (native) => EventFd.#adopt(native))
  }

  static #adopt(native: NativeHandle): EventFd {
    pending = native
    try {
      return new EventFd()
    } finally {
      pending = undefined
    }
  }

  /** The descriptor's number, for interfaces that take one. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /**
   * Adds to the counter and wakes who waits.
   * @param value 1 to 2^53 - 1 (default 1)
   * @throws VfioError EAGAIN when the counter would exceed 2^64 - 2
   */
  signal(value?: number): void {
    const signal = (this.#signal ??= addon().eventfdFunction(this.native, 'signal'))
    // Without an argument where there is none: looking at it in the addon costs a tenth of the system call.
    if (value === undefined) signal()
    else signal(value)
  }

  /** Takes the counter (1 of it, for a semaphore) and gives what it was; 0 when it was empty. Exact to 2^53. */
  read(): number {
    return (this.#read ??= addon().eventfdFunction(this.native, 'read'))()
  }

  /**
   * The counts as they come, for `for await`. Watched on the environment's own poller, which keeps the process alive
   * while the loop waits.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<number> {
    return eventsOf(this)
  }

  /** Removes it from the poller that watches it, and closes it. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Returns a count that was taken and not used; it may be more than one signal() takes. @internal */
  giveBack(count: number): void {
    // A power of two, so that nothing is rounded on the way.
    const step = 2 ** 52
    for (let rest = count; rest > 0; rest -= step) this.signal(Math.min(rest, step))
  }
}

// How fromFd and claim hand their handle to the public constructor, which users call without one.
let pending: NativeHandle | undefined

function made(options: EventFdOptions | undefined): NativeHandle {
  if (pending !== undefined) return pending
  const { initial = 0, semaphore = false } = optionsOf(options, 'options')
  return addon().eventfdCreate(integer(initial, 'initial', 0, 0xffff_ffff), boolean(semaphore, 'semaphore'))
}
