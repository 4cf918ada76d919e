// Connection: one stream of messages with descriptors over a UNIX socket. Owns the views of what came and of what is to be
// sent; reading, cutting and sending are native. Knows nothing of what the messages say.
import { attempt, type VfioError, type VfioErrorContext } from '../../errors.js'
import { EventFd } from '../../event/eventfd.js'
import { type ShareToken, SharedHandle } from '../../handle.js'
import { addon, type NativeHandle } from '../../native/index.js'
import type { ConnectionPort } from '../../native/socket.js'
import { array, bytes as bytesOf, callable, instance, integer, string } from '../../validate.js'
import { Delivery } from './delivery.js'
import { CONNECT_REMEDIES } from './connecting.js'
import { type ConnectionEnd, endOf } from './end.js'
import { type ConnectionOptions, shapeOf } from './framing.js'

/** Who is at the other end, as the kernel knew it when the connection was made. */
export interface ConnectionPeer {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** What went in so far. */
export interface ConnectionCounters {
  readonly messages: number
  readonly bytes: number
  /** Reads of the socket that brought something. */
  readonly receives: number
  /** Messages among them that `answerPlain()` answered. */
  readonly answered: number
}

const MOST_MILLISECONDS = 2 ** 31 - 1
const MOST_DESCRIPTORS = 253

// Places in the table, in numbers of 32 bits from its count on.
const COUNT = 0
const MORE = 1
const END = 2
const END_ERRNO = 3
const QUEUED = 4

function explain(path: string): (error: VfioError) => VfioErrorContext {
  return (error) => {
    const remedy = CONNECT_REMEDIES[error.code]
    return remedy === undefined ? { subject: path } : { subject: path, remedy }
  }
}

// Keeps a connection for as long as one of its buffers is held.
const owners = new WeakMap<ArrayBuffer, Connection>()

/**
 * A connection to one peer. Messages are read in place: after a `receive()`, a `wait()` or in the handler of `onMessages()`
 * the first `count` entries of the table say where in `bytes` each is, until the next time.
 */
export class Connection extends SharedHandle<'Connection'> {
  /** The receive buffer. */
  readonly bytes: Uint8Array
  /** The same, to read numbers from. */
  readonly data: DataView
  /** What `send()` sends from; as long as the longest message. Each Worker has its own. */
  readonly out: Uint8Array
  /** The same, to write numbers to. */
  readonly outData: DataView
  readonly #port: ConnectionPort
  readonly #words: Uint32Array
  readonly #offsets: Uint32Array
  readonly #lengths: Uint32Array
  readonly #descriptors: Uint32Array
  #delivery: Delivery | undefined

  private constructor(native: NativeHandle) {
    super(native, 'Connection')
    const { connectionCountOffset, connectionOffsetsOffset: offsets, connectionMostMessages: most } = addon()
    const port = addon().connectionFunctions(native)
    this.#port = port
    this.#words = new Uint32Array(port.table, connectionCountOffset, 5)
    this.#offsets = new Uint32Array(port.table, offsets, most)
    this.#lengths = new Uint32Array(port.table, offsets + most * 4, most)
    this.#descriptors = new Uint32Array(port.table, offsets + most * 8, most)
    owners.set(port.in, this)
    owners.set(port.out, this)
    this.bytes = new Uint8Array(port.in)
    this.data = new DataView(port.in)
    this.out = new Uint8Array(port.out)
    this.outData = new DataView(port.out)
  }

  /**
   * Connects to a socket in the file system.
   * @throws VfioError ECONNREFUSED, ENOENT, EACCES; EAGAIN when the listener's queue is full
   */
  static connect(path: string, options: ConnectionOptions): Connection {
    string(path, 'path')
    const shape = shapeOf(options)
    return new Connection(attempt(explain(path), () => addon().connectionConnect(path, ...shape)))
  }

  /**
   * Takes ownership of a connected UNIX stream socket.
   * @throws VfioError EPROTOTYPE when it is another kind of socket, ENOTCONN, ENOTSOCK, EBADF; the descriptor stays yours then
   */
  static fromFd(fd: number, options: ConnectionOptions): Connection {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    const shape = shapeOf(options)
    const subject = `descriptor ${String(fd)}`
    return new Connection(attempt({ subject }, () => addon().connectionFromFd(fd, ...shape)))
  }

  /** Two that are connected with each other. */
  static pair(options: ConnectionOptions): [Connection, Connection] {
    const [one, other] = addon().connectionPair(...shapeOf(options))
    return [new Connection(one), new Connection(other)]
  }

  /** The connection behind a token, in this environment. One of them receives at a time; each may send. */
  static claim(token: ShareToken): Connection {
    return SharedHandle.claimed(token, 'Connection', (native) => new Connection(native))
  }

  /** One that a listener accepted. @internal */
  static adopt(native: NativeHandle): Connection {
    return new Connection(native)
  }

  // -- what came --

  /** How many whole messages the last receive brought, 0 to 256. */
  get count(): number {
    return this.#words[COUNT] ?? 0
  }

  /** True when a further `receive()` may bring more without waiting. */
  get more(): boolean {
    return this.#words[MORE] !== 0
  }

  /** How the connection ended; undefined while it has not. Messages that came before the end are received before it. */
  get ended(): ConnectionEnd | undefined {
    return endOf(this.#words[END] ?? 0, this.#words[END_ERRNO] ?? 0)
  }

  /** Where in `bytes` message `i` of the table begins. */
  offset(i: number): number {
    return this.#offsets[i] ?? 0
  }

  /** How long it is, header included. */
  length(i: number): number {
    return this.#lengths[i] ?? 0
  }

  /** How many descriptors came with it and were not taken. */
  descriptors(i: number): number {
    return this.#descriptors[i] ?? 0
  }

  /** The descriptors that came with it, yours to close from now on. What nobody takes is closed with the next receive. */
  takeFds(i: number): number[] {
    integer(i, 'i', 0, 255)
    return this.#descriptors[i] === 0 ? [] : addon().connectionTake(this.native, i)
  }

  /** Receives what there is, without waiting. Returns how many messages that is. */
  receive(): number {
    this.#port.receive()
    return this.count
  }

  /**
   * Blocks the thread until messages come or the connection ends, which is meant for a Worker: a message costs one system call
   * and no turn of the event loop. Terminating the Worker ends it within 100 milliseconds.
   * @param timeoutMs 0 to 2^31 - 1 milliseconds; without it, for ever
   * @param spinMicros how long to look before it sleeps, 0 to 10000 microseconds (default 0)
   * @returns how many messages came; 0 when the time is over, or the connection has ended (see `ended`)
   * @throws VfioError EBUSY when another Worker receives from it
   */
  wait(timeoutMs?: number, spinMicros = 0): number {
    const forever = timeoutMs === undefined || timeoutMs === Infinity
    if (spinMicros !== 0) integer(spinMicros, 'spinMicros', 0, addon().connectionMostSpinMicros)
    // Without arguments where there are none: looking at them in the addon costs a part of the way to the message.
    if (forever && spinMicros === 0) this.#port.wait()
    else this.#port.wait(forever ? -1 : integer(timeoutMs, 'timeoutMs', 0, MOST_MILLISECONDS), spinMicros)
    return this.count
  }

  /**
   * Lets an eventfd end `wait()` too, which returns 0 then. You read the eventfd before the next wait, or that ends at once. With
   * an eventfd a message costs two system calls. Closing the eventfd takes it away.
   * @returns how to stop
   * @throws VfioError EBUSY when something else reads it already, ENOSPC above 16 of them
   */
  wakeOn(eventfd: EventFd): () => void {
    instance(eventfd, EventFd, 'eventfd')
    addon().connectionWatch(this.native, eventfd.native)
    let watched = true
    const stop = (): void => {
      if (!watched) return
      watched = false
      forgetEventFd()
      forgetThis()
      addon().connectionUnwatch(this.native, eventfd.native)
    }
    const forgetEventFd = eventfd.beforeClose(stop)
    const forgetThis = this.beforeClose(stop)
    return stop
  }

  /**
   * Calls a handler in the event loop when messages have come, with the connection whose table holds them. What it throws is
   * an uncaught exception. The connection keeps the process alive until `stop()`, the end, or `unref()`.
   * @param onEnd called once, when the connection ends other than by `close()`
   */
  onMessages(
    handler: (connection: this) => unknown,
    onEnd: (end: ConnectionEnd, connection: this) => unknown = () => undefined,
  ): void {
    callable(handler, 'handler')
    callable(onEnd, 'onEnd')
    this.stop()
    // The object itself, which may not be collected while it waits.
    this.#delivery = new Delivery(this, {
      messages: () => handler(this),
      end: (end) => {
        this.#delivery = undefined
        return onEnd(end, this)
      },
    })
  }

  /** Takes the handlers away. */
  stop(): void {
    this.#delivery?.stop()
    this.#delivery = undefined
  }

  ref(): this {
    this.#delivery?.setReferenced(true)
    return this
  }

  unref(): this {
    this.#delivery?.setReferenced(false)
    return this
  }

  // -- what is sent --

  /**
   * Sends the first `length` bytes of `out` as one message. What the peer does not read at once waits for it in order.
   * @param fds descriptors for the peer, 253 at most; yours stay open
   * @returns false when the connection has ended, so that nobody gets it
   * @throws VfioError when the kernel refuses the message, EBADF for a bad descriptor; nothing was sent then
   */
  send(length: number, fds?: readonly number[]): boolean {
    const sent = fds === undefined ? this.#port.send(length) : this.#port.send(length, descriptorsOf(fds))
    if (this.#words[QUEUED] !== 0) this.#delivery?.awaitWritable()
    return sent !== false
  }

  /**
   * Sends a header and bytes that are elsewhere as one message.
   * @param header the header, or how many bytes of `out` it is
   */
  sendBytes(header: number | Uint8Array, payload: Uint8Array, fds?: readonly number[]): boolean {
    let length = header
    if (typeof length !== 'number') {
      const own = bytesOf(length, 'header')
      if (own.length > this.out.length) throw new RangeError('header is longer than a message may be')
      this.out.set(own)
      length = own.length
    }
    const rest = bytesOf(payload, 'payload')
    const sent =
      fds === undefined
        ? this.#port.sendBytes(length, rest)
        : this.#port.sendBytes(length, rest, descriptorsOf(fds))
    if (this.#words[QUEUED] !== 0) this.#delivery?.awaitWritable()
    return sent !== false
  }

  /** How many bytes wait until the peer reads, and what keeping them takes. */
  get queued(): number {
    return this.#words[QUEUED] ?? 0
  }

  /** Sends what waits, as far as the peer reads; whether anything still does. `onMessages()` and `wait()` do so themselves. */
  flush(): boolean {
    return addon().connectionFlush(this.native)
  }

  /**
   * Ends the connection for both sides, and the `wait()` of whichever Worker; its `ended` says `hung-up`. What waits until the peer
   * reads is sent as far as the peer has room for it now, and lost otherwise: see `queued`.
   */
  hangUp(): void {
    addon().connectionHangUp(this.native)
  }

  // -- the rest --

  /** The descriptor's number. The object keeps ownership. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  get peer(): ConnectionPeer {
    return addon().connectionPeer(this.native)
  }

  get counters(): ConnectionCounters {
    const [messages = 0, bytes = 0, receives = 0, answered = 0] = new Float64Array(this.#port.table, 0, 4)
    return { messages, bytes, receives, answered }
  }

  /**
   * Closes it; the peer sees the end once no Worker holds it any more. What waits until then is sent as far as the peer has room
   * for it, as with `hangUp()`. Idempotent.
   */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  protected override beforeRelease(): void {
    this.stop()
  }
}

function descriptorsOf(fds: readonly number[]): readonly number[] {
  if (array(fds, 'fds').length > MOST_DESCRIPTORS) {
    throw new RangeError(`fds must be ${String(MOST_DESCRIPTORS)} descriptors at most`)
  }
  return fds
}
