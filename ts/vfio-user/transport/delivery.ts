// A connection's messages in the event loop: who is called when they come, and when the end does. Knows a connection by what
// it needs of one.
import { FileWatch } from '../../event/file-watch.js'
import type { NativeHandle } from '../../native/index.js'
import type { ConnectionEnd } from './end.js'

/** What a delivery does with its connection. */
export interface Deliverable {
  readonly native: NativeHandle
  readonly more: boolean
  readonly ended: ConnectionEnd | undefined
  receive(): number
  flush(): boolean
}

/** What is called: for the messages in the connection's table, and once for the end. */
export interface DeliveryHandlers {
  readonly messages: () => unknown
  readonly end: (end: ConnectionEnd) => unknown
}

/** So many receives in a row before the rest of the event loop has its turn. */
const MOST_ROUNDS = 16

export class Delivery {
  readonly #connection: Deliverable
  readonly #handlers: DeliveryHandlers
  readonly #watch: FileWatch
  #immediate: NodeJS.Immediate | undefined
  #over = false

  constructor(connection: Deliverable, handlers: DeliveryHandlers) {
    this.#connection = connection
    this.#handlers = handlers
    this.#watch = new FileWatch(
      connection.native,
      (last) => {
        this.#take(last)
      },
      () => {
        if (!connection.flush()) this.#watch.setWritable(false)
      },
    )
    // What was read before, or ended it, makes no event.
    if (connection.more || connection.ended !== undefined) this.#later(false)
  }

  /** Whether it keeps the process alive. */
  setReferenced(referenced: boolean): void {
    this.#watch.setReferenced(referenced)
  }

  /** Something waits to be sent, which is to be done when the peer has read. */
  awaitWritable(): void {
    if (!this.#over) this.#watch.setWritable(true)
  }

  stop(): void {
    if (this.#over) return
    this.#over = true
    if (this.#immediate !== undefined) clearImmediate(this.#immediate)
    this.#watch.close()
  }

  #later(toTheEnd: boolean): void {
    this.#immediate ??= setImmediate(() => {
      this.#immediate = undefined
      if (!this.#over) this.#take(toTheEnd)
    })
  }

  // The loop tells again of what is left in the socket, but not of messages that were read with others; nor of anything where
  // it has given up the socket, so that all is taken then.
  #take(toTheEnd: boolean): void {
    const connection = this.#connection
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
      if (!connection.more && !toTheEnd) return
    }
    this.#later(toTheEnd)
  }

  // What a handler throws ends neither the delivery nor those of others: it goes where nobody here can catch it.
  #call(handler: () => unknown): void {
    try {
      handler()
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }
}
