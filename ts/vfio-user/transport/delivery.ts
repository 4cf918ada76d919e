// A connection's messages in the event loop: who is called when they come, and when the end does. Knows a connection by what
// it needs of one.
import { environmentPollers, type SignalPoller, type SignalSource } from '../../event/poller.js'
import type { ConnectionEnd } from './end.js'

/** What a delivery does with its connection. */
export interface Deliverable extends SignalSource {
  readonly count: number
  readonly more: boolean
  readonly queued: number
  readonly ended: ConnectionEnd | undefined
  receive(): number
  flush(): boolean
}

/** What is called: for the messages in the connection's table, and once for the end. */
export interface DeliveryHandlers {
  readonly messages: () => unknown
  readonly end: (end: ConnectionEnd) => unknown
}

// Of epoll's: it takes bytes again; an error, both directions closed, and the peer's closed.
const EPOLLOUT = 0x4
const HANGING_UP = 0x8 | 0x10 | 0x2000
/** So many receives in a row before the rest of the event loop has its turn. */
const MOST_ROUNDS = 16

/** Throws it where nobody here can catch it, which ends neither the delivery nor those of others. */
function uncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

export class Delivery {
  readonly #connection: Deliverable
  readonly #handlers: DeliveryHandlers
  #poller: SignalPoller = environmentPollers().waiting
  #immediate: NodeJS.Immediate | undefined
  #writable = false
  #over = false

  constructor(connection: Deliverable, handlers: DeliveryHandlers) {
    this.#connection = connection
    this.#handlers = handlers
    this.#watch()
    // What was read before, or ended it, makes no event.
    if (connection.more || connection.ended !== undefined) this.#later()
  }

  /** Whether it keeps the process alive. */
  setReferenced(referenced: boolean): void {
    const { waiting, background } = environmentPollers()
    const poller = referenced ? waiting : background
    if (this.#over || poller === this.#poller) return
    this.#poller.remove(this.#connection)
    this.#poller = poller
    this.#watch()
  }

  /** Something waits to be sent: to be called when the peer has read. */
  awaitWritable(): void {
    if (this.#writable || this.#over) return
    this.#writable = true
    this.#poller.watchWritable(this.#connection, true)
  }

  stop(): void {
    if (this.#over) return
    this.#over = true
    if (this.#immediate !== undefined) clearImmediate(this.#immediate)
    this.#poller.remove(this.#connection)
  }

  #watch(): void {
    this.#poller.add(this.#connection, (events) => {
      if ((events & EPOLLOUT) !== 0) this.#flush()
      this.#take((events & HANGING_UP) !== 0)
    })
    if (this.#writable) this.#poller.watchWritable(this.#connection, true)
  }

  #later(): void {
    this.#immediate ??= setImmediate(() => {
      this.#immediate = undefined
      if (!this.#over) this.#take(true)
    })
  }

  #flush(): void {
    if (!this.#writable || this.#connection.flush()) return
    this.#writable = false
    this.#poller.watchWritable(this.#connection, false)
  }

  // epoll tells once of what has come, so all of it is taken: until the socket is known to be empty, which spares the look
  // that finds nothing, or where an end is near, until that has come.
  #take(toTheEnd: boolean): void {
    const connection = this.#connection
    let empty = 0
    for (let rounds = 0; rounds < MOST_ROUNDS; rounds++) {
      const count = connection.receive()
      if (count > 0) this.#call(this.#handlers.messages)
      if (this.#over) return
      const end = connection.ended
      if (end !== undefined) {
        this.stop()
        this.#call(() => this.#handlers.end(end))
        return
      }
      if (connection.more) continue
      // What came may be part of a message only; behind it is the end, or nothing.
      if (!toTheEnd || (count === 0 && ++empty === 2)) return
    }
    this.#later()
  }

  #call(handler: () => unknown): void {
    try {
      handler()
    } catch (error) {
      uncaught(error)
    }
  }
}
