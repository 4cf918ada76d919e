// Lobby: those who have connected and are not served yet. Owns their connections until it is somebody's turn; who has not said
// anything whole in time is hung up on, so that nobody holds a device by silence. Knows nothing of what they say.
import type { Connection } from '../transport/connection.js'
import type { ConnectionEnd } from '../transport/end.js'

/** So many at once: who comes then waits in the listener's queue, for no longer than the others may be silent. */
export const MOST_WAITING = 16

export interface LobbyOptions {
  /** How long somebody may say nothing, in milliseconds. */
  readonly patienceMillis: number
  /** Called when it may be somebody's turn, or there is room again. */
  readonly changed: () => void
  /** Told of who went without having been served; null for who was silent. */
  readonly gone: (end: ConnectionEnd | null) => void
}

export class Lobby {
  readonly #options: LobbyOptions
  readonly #silent = new Map<Connection, NodeJS.Timeout>()
  // In the order in which they spoke. Their first messages are in their tables.
  readonly #ready: Connection[] = []

  constructor(options: LobbyOptions) {
    this.#options = options
  }

  get full(): boolean {
    return this.#silent.size + this.#ready.length >= MOST_WAITING
  }

  enter(connection: Connection): void {
    const timer = setTimeout(() => {
      this.#timeOver(connection)
    }, this.#options.patienceMillis)
    this.#silent.set(connection, timer)
    connection.onMessages(
      () => {
        this.#spoken(connection)
      },
      (end) => {
        this.#drop(connection)
        this.#options.gone(end)
        this.#options.changed()
      },
    )
  }

  /** The one who has waited longest since it spoke, the caller's from here on. */
  next(): Connection | undefined {
    return this.#ready.shift()
  }

  /** Hangs up on all of them. */
  close(): void {
    for (const connection of [...this.#silent.keys(), ...this.#ready.splice(0)]) this.#drop(connection)
  }

  #spoken(connection: Connection): void {
    clearTimeout(this.#silent.get(connection))
    this.#silent.delete(connection)
    // What it says next stays in the socket.
    connection.stop()
    this.#ready.push(connection)
    this.#options.changed()
  }

  #timeOver(connection: Connection): void {
    // After an event loop that was busy for so long, what it said has not been looked at.
    if (connection.receive() > 0) {
      this.#spoken(connection)
      return
    }
    const { ended } = connection
    this.#drop(connection)
    this.#options.gone(ended ?? null)
    this.#options.changed()
  }

  #drop(connection: Connection): void {
    clearTimeout(this.#silent.get(connection))
    this.#silent.delete(connection)
    connection.close()
  }
}
