// UserDeviceServer: shows a device to clients, one after the other. Owns the listening socket and the connection at hand; what is
// said on it, the session knows.
import { closeSync } from 'node:fs'

import { EBADF, EBUSY, EINVAL, ETIMEDOUT, VfioError } from '../../errors.js'
import type { EventFd } from '../../event/eventfd.js'
import { environmentPollers } from '../../event/poller.js'
import { boolean, callable, instance, integer, oneOf, options as optionsOf, string } from '../../validate.js'
import { FRAMING } from '../protocol/constants.js'
import { Connection } from '../transport/connection.js'
import type { ConnectionEnd } from '../transport/end.js'
import { Listener } from '../transport/listener.js'
import { Windows } from '../windows.js'
import { MOST_RANGES } from './dma.js'
import { Lobby } from './lobby.js'
import { Servable } from './served.js'
import { Session } from './session.js'
import { type ErrorHandler, type ServerStatistics, newStatistics, reporter } from './statistics.js'

export interface UserDeviceServerOptions {
  /**
   * `loop` (the default): the event loop serves, as soon as the server is made. `thread`: nothing is served until `run()`, which
   * blocks its thread between messages, and is meant for a Worker: an access to a register costs no turn of the event loop.
   */
  readonly mode?: 'loop' | 'thread'
  /** How long `run()` looks for a message before it sleeps, 0 to 10000 microseconds (default 0). It occupies a core meanwhile. */
  readonly spinMicros?: number
  /**
   * Told of exceptions in handlers, of answers that were late, and of clients that break the protocol. Default: a process
   * warning, for the first ten.
   */
  readonly onError?: (error: Error) => unknown
  /**
   * How long a handler's promise may take, 1 to 4000 milliseconds (default 1000). Then the client is answered without it: with
   * all ones. QEMU gives up a device that does not answer for 5 seconds.
   */
  readonly deadlineMillis?: number
  /**
   * How long who has connected to the socket may say nothing, 10 to 60000 milliseconds (default 1000): it is hung up on then, so that
   * others have their turn. Who is connected by `fromFd()` may take its time.
   */
  readonly handshakeMillis?: number
  /** The permissions of the socket's file (default 0o600: who runs the server). A client needs to write to it. */
  readonly fileMode?: number
  /**
   * Takes memory of any file system (default false: memfd, tmpfs and hugetlbfs only). Others can hold up whoever touches them for
   * ever, so it is for clients that you trust.
   */
  readonly anyFile?: boolean
}

const CONNECTION = { framing: FRAMING, queueBytes: 8 << 20 } as const
/** `run()` gives the event loop a turn at least so often, for timers and messages of its Worker. */
const SLICE_MILLISECONDS = 100
const MOST_WAITS = 256

function checked(options: UserDeviceServerOptions | undefined): Required<
  Omit<UserDeviceServerOptions, 'onError'>
> & {
  onError: ErrorHandler | undefined
} {
  const given = optionsOf(options, 'options')
  const {
    mode = 'loop',
    spinMicros = 0,
    onError,
    deadlineMillis = 1000,
    handshakeMillis = 1000,
    fileMode = 0o600,
    anyFile = false,
  } = given
  return {
    mode: oneOf(mode, 'mode', ['loop', 'thread']),
    spinMicros: integer(spinMicros, 'spinMicros', 0, 10_000),
    onError: onError === undefined ? undefined : callable(onError, 'onError'),
    deadlineMillis: integer(deadlineMillis, 'deadlineMillis', 1, 4000),
    handshakeMillis: integer(handshakeMillis, 'handshakeMillis', 10, 60_000),
    fileMode: integer(fileMode, 'fileMode', 0, 0o777),
    anyFile: boolean(anyFile, 'anyFile'),
  }
}

function watch(eventfd: EventFd, signalled: (count: number) => unknown): () => void {
  const { background } = environmentPollers()
  background.add(eventfd, signalled)
  return () => background.remove(eventfd)
}

function closeFd(fd: number): void {
  closeSync(fd)
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * Serves a device to vfio-user clients: a VMM (QEMU from 10.1, cloud-hypervisor), or a `VfioDevice`. One client at a time; the next
 * one waits until it is gone. Whatever a client does harms neither the process nor another device: what is not according to the
 * protocol ends its connection.
 */
export class UserDeviceServer {
  /** What is served. */
  readonly device: Servable
  readonly #options: ReturnType<typeof checked>
  readonly #statistics: ServerStatistics = newStatistics()
  readonly #report: ErrorHandler
  readonly #release: () => void
  readonly #lobby: Lobby
  #stopAccepting: (() => void) | undefined
  #listener: Listener | null = null
  #connection: Connection | null = null
  #session: Session | null = null
  #closed = false
  #running = false
  #signalsBefore: number
  // What wakes run() while it waits for a client, or for the event loop.
  #wake: (() => void) | undefined

  private constructor(device: Servable, options: UserDeviceServerOptions | undefined) {
    this.#options = checked(options)
    this.device = instance(device, Servable, 'device')
    this.#release = device.claim(this)
    this.#signalsBefore = device.served.interrupts.signals
    this.#report = reporter(device.name, this.#options.onError)
    this.#lobby = new Lobby({
      patienceMillis: this.#options.handshakeMillis,
      changed: () => {
        this.#admit()
      },
      gone: (end) => {
        this.#left(end)
      },
    })
  }

  /**
   * Listens on a socket in the file system, which goes with the server; one that nobody listens to any more is replaced.
   * @throws VfioError EADDRINUSE where somebody listens, EACCES, ENOENT; EBUSY when another server has the device
   */
  static listen(path: string, device: Servable, options?: UserDeviceServerOptions): UserDeviceServer {
    string(path, 'path')
    const server = new UserDeviceServer(device, options)
    return server.#begin(() => {
      const { fileMode } = server.#options
      server.#listener = Listener.listen(path, CONNECTION, { mode: fileMode })
      if (server.#options.mode === 'loop') server.#admit()
    })
  }

  /**
   * Serves one client, on a connected UNIX stream socket that was inherited or made by socketpair(2). Takes ownership of the
   * descriptor.
   */
  static fromFd(fd: number, device: Servable, options?: UserDeviceServerOptions): UserDeviceServer {
    const server = new UserDeviceServer(device, options)
    return server.#begin(() => {
      server.#serve(Connection.fromFd(fd, CONNECTION))
    })
  }

  /**
   * Serves whoever connects to a UNIX stream socket that listens already, as a service manager hands it over. Takes ownership of
   * the descriptor.
   */
  static fromListenFd(fd: number, device: Servable, options?: UserDeviceServerOptions): UserDeviceServer {
    const server = new UserDeviceServer(device, options)
    return server.#begin(() => {
      server.#listener = Listener.fromFd(fd, CONNECTION)
      if (server.#options.mode === 'loop') server.#admit()
    })
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Whether a client is connected. */
  get connected(): boolean {
    return this.#session !== null
  }

  /** Figures since the server was made. */
  get statistics(): Readonly<ServerStatistics> {
    const signals = this.device.served.interrupts.signals - this.#signalsBefore
    return { ...this.#statistics, signals }
  }

  /**
   * Serves on this thread, with `mode: 'thread'`, until the server is closed or the client of `fromFd()` is gone. It blocks the
   * thread between messages; timers and messages of its Worker have their turn every 100 milliseconds at least. Promises of
   * handlers, doorbells' eventfds and level-triggered interrupts in a guest are served from the event loop, at its speed.
   * Terminating the Worker ends it.
   */
  async run(): Promise<void> {
    if (this.#options.mode !== 'thread') {
      throw new VfioError(EINVAL, 'run', {
        subject: this.device.name,
        remedy: "Give the server mode: 'thread'.",
      })
    }
    if (this.#closed) throw new VfioError(EBADF, 'closed', { subject: this.device.name })
    if (this.#running) throw new VfioError(EBUSY, 'run', { subject: this.device.name })
    this.#running = true
    try {
      for (;;) {
        if (this.#session === null) await this.#nextClient()
        const session: Session | null = this.#session
        const connection = this.#connection
        if (session === null || connection === null) return
        await this.#serveBlocking(session, connection)
      }
    } finally {
      this.#running = false
    }
  }

  /** Hangs up, and stops listening. The device stays what it is, for another server. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#listener?.close()
    this.#lobby.close()
    this.#drop()
    this.#release()
    this.#wake?.()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #begin(start: () => void): this {
    try {
      start()
      return this
    } catch (error) {
      this.close()
      throw error
    }
  }

  /**
   * The next client, once there is none: the first of those who have connected that has said something. While there is one, nobody
   * else is accepted.
   */
  #admit(): void {
    const listener = this.#listener
    if (listener === null) return
    while (this.#session === null && !this.#closed) {
      const connection = this.#lobby.next()
      if (connection === undefined) break
      this.#serve(connection)
    }
    if (this.#closed) return
    if (this.#session !== null || this.#lobby.full) {
      this.#stopAccepting?.()
      this.#stopAccepting = undefined
      return
    }
    this.#stopAccepting ??= listener.accept((one) => {
      this.#lobby.enter(one)
      this.#admit()
    }, this.#report)
  }

  /** Of those who have connected, one has gone without having been served. */
  #left(end: ConnectionEnd | null): void {
    if (end !== null) {
      this.#reportEnd(end)
      return
    }
    this.#statistics.silent++
    const { handshakeMillis } = this.#options
    const remedy = `Somebody has connected, and has sent no version for ${handshakeMillis} ms: it was hung up on (handshakeMillis).`
    this.#report(new VfioError(ETIMEDOUT, 'vfio-user', { subject: this.device.name, remedy }))
  }

  #serve(connection: Connection): void {
    this.#connection = connection
    this.#session = new Session(connection, this.device.served, {
      windows: () => new Windows({ most: MOST_RANGES, anyFile: this.#options.anyFile }),
      watcher: { watch },
      report: this.#report,
      statistics: this.#statistics,
      deadlineMillis: this.#options.deadlineMillis,
      closeFd,
    })
    if (this.#options.mode === 'loop') this.#watchConnection(this.#session, connection)
    // What it has said already.
    this.#take(this.#session)
  }

  /** Serves from the event loop. */
  #watchConnection(session: Session, connection: Connection): void {
    connection.onMessages(
      () => {
        this.#take(session)
      },
      (end) => {
        this.#ended(session, end)
      },
    )
  }

  #take(session: Session): void {
    session.take()
    // What the session hung up on goes now.
    if (session.over) this.#ended(session)
    this.#wake?.()
  }

  /** A connection is over; the next client's turn. */
  #ended(session: Session, end?: ConnectionEnd): void {
    if (this.#session !== session) return
    if (end !== undefined) this.#reportEnd(end)
    this.#drop()
    if (this.#options.mode === 'loop') this.#admit()
    this.#wake?.()
  }

  #reportEnd({ reason, errno, message }: ConnectionEnd): void {
    if (reason === 'peer-gone' || reason === 'hung-up') return
    this.#report(
      new VfioError(errno === 0 ? EINVAL : errno, 'vfio-user', {
        subject: this.device.name,
        remedy: message,
      }),
    )
  }

  #drop(): void {
    const session = this.#session
    const connection = this.#connection
    this.#session = null
    this.#connection = null
    try {
      session?.end()
    } finally {
      // A handler may close the server: what called it goes on with the connection's buffers first.
      connection?.hangUp()
      if (session?.serving === true) queueMicrotask(() => connection?.close())
      else connection?.close()
    }
  }

  // -- on a thread of its own --

  /** Waits for one in the event loop: nothing is urgent then. */
  async #nextClient(): Promise<void> {
    if (this.#listener === null) return
    this.#admit()
    await this.#woken(() => this.#closed || this.#session !== null)
  }

  async #woken(ready: () => boolean): Promise<void> {
    while (!ready()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#wake = undefined
  }

  async #serveBlocking(session: Session, connection: Connection): Promise<void> {
    const { spinMicros } = this.#options
    let waits = 0
    while (this.#session === session) {
      if (session.awaitsEvents || session.busy) {
        await this.#serveFromLoop(session, connection)
        continue
      }
      const came = connection.wait(SLICE_MILLISECONDS, spinMicros)
      if (came > 0) this.#take(session)
      const end = came === 0 ? connection.ended : undefined
      if (end !== undefined) this.#ended(session, end)
      else if (came === 0 || ++waits % MOST_WAITS === 0) await turn()
    }
  }

  /** As long as there is more to wait for than messages. */
  async #serveFromLoop(session: Session, connection: Connection): Promise<void> {
    this.#watchConnection(session, connection)
    session.onSettled = () => this.#wake?.()
    await this.#woken(() => this.#session !== session || !(session.awaitsEvents || session.busy))
    session.onSettled = undefined
    if (this.#session === session) connection.stop()
  }
}
