// Session: one client of a device, from its first message to its end. Owns what belongs to the connection (what was agreed, windows,
// eventfds) and the order of answers; what a command does, commands.ts knows. Accesses to regions are answered here, at once.
import { EINVAL, EIO, ENOSYS, ETIMEDOUT, VfioError } from '../../errors.js'
import { COMMAND, HEADER_BYTES, REPLY_BYTES, commandName } from '../protocol/constants.js'
import {
  commandOf,
  headerProblem,
  isReply,
  messageId,
  sizeOf,
  wantsNoReply,
  writeError,
} from '../protocol/header.js'
import type { Agreement } from '../protocol/negotiation.js'
import * as io from '../protocol/region-io.js'
import { readRegion, writeRegion } from './access.js'
import { Backlog } from './backlog.js'
import type { Channel } from './channel.js'
import type { CommandContext, SessionOptions } from './command-context.js'
import { COMMANDS, type Reply } from './commands.js'
import { MessageDma } from './message-dma.js'
import type { ServedRegion } from './region.js'
import { Rings } from './rings.js'
import { Denial, type ServedDevice } from './served.js'
import { type ServerStatistics, errorOf } from './statistics.js'

const EPROTO = 71
/** The minor version that nobody offers who waits for data after an error. */
const TAKES_ERRORS = 2

export class Session implements CommandContext {
  readonly device: ServedDevice
  readonly options: SessionOptions
  readonly channel: Channel
  readonly messages: MessageDma
  readonly rings: Rings
  /** Null until the client has said which version it speaks. */
  agreement: Agreement | null = null
  /** Called when a handler's promise has settled. */
  onSettled: (() => void) | undefined
  readonly #regions: readonly ServedRegion[]
  readonly #statistics: ServerStatistics
  readonly #later: (pending: Promise<unknown>) => void
  readonly #backlog: Backlog
  // An answer is not there yet; what comes meanwhile waits.
  #pending = false
  // Promises of handlers for which no answer waits.
  #unsettled = 0
  #serving = false
  #over = false
  // Where the descriptors of the message at hand are: in the channel's table, or with a message that waited.
  #index = 0
  #stored: number[] | null = null

  constructor(channel: Channel, device: ServedDevice, options: SessionOptions) {
    this.channel = channel
    this.device = device
    this.options = options
    this.messages = new MessageDma(channel, device.name, options.statistics)
    this.rings = new Rings(device.bells, options.watcher)
    this.#regions = device.regions
    this.#statistics = options.statistics
    this.#later = (pending) => {
      this.#unsettled++
      const settled = (): void => {
        this.#unsettled--
        this.onSettled?.()
      }
      pending.then(settled, (error: unknown) => {
        this.failed(error)
        settled()
      })
    }
    this.#backlog = new Backlog(options.closeFd)
    this.#statistics.clients++
  }

  get over(): boolean {
    return this.#over
  }

  /** Whether a message is being served: the buffers of the connection are in use then. */
  get serving(): boolean {
    return this.#serving
  }

  /** Whether handlers' promises, or the client's memory, are awaited: these need turns of the event loop. */
  get busy(): boolean {
    return this.#pending || this.#unsettled > 0 || this.messages.busy
  }

  /** Whether an eventfd of the client's is awaited, which the event loop tells of. */
  get awaitsEvents(): boolean {
    return this.rings.given || this.device.interrupts.watchesUnmask
  }

  /** Serves what the channel has received. */
  take(): void {
    const { data } = this.channel
    const count = this.channel.count
    for (let i = 0; i < count && !this.#over; i++) {
      const at = this.channel.offset(i)
      const length = this.channel.length(i)
      this.#statistics.messages++
      this.#index = i
      if (this.#pending && !isReply(data, at)) this.#keep(i, at, length)
      else this.#serve(data, at, length)
    }
  }

  /** The descriptors of the message at hand, the caller's from here on. */
  takeFds(): number[] {
    const stored = this.#stored
    if (stored === null) return this.channel.takeFds(this.#index)
    this.#stored = []
    return stored
  }

  /** A handler of the author's has thrown. What was denied on purpose is no failure. */
  failed(thrown: unknown): void {
    if (thrown instanceof Denial) {
      if (thrown.cause !== undefined) this.failed(thrown.cause)
      return
    }
    this.#statistics.failed++
    this.options.report(errorOf(thrown))
  }

  /** Runs a handler that nobody waits for. */
  run(handler: (() => unknown) | undefined): void {
    if (handler === undefined) return
    try {
      const result = handler()
      if (result instanceof Promise) this.#later(result)
    } catch (error) {
      this.failed(error)
    }
  }

  /** The client has broken the protocol: it is hung up on. */
  abort(problem: string): void {
    if (this.#over) return
    const { name } = this.device
    this.options.report(
      new VfioError(EPROTO, 'vfio-user', { subject: name, remedy: `The client has sent ${problem}.` }),
    )
    this.channel.hangUp()
    this.end()
  }

  /** The connection is over: what the client gave goes, what the device is in stays. Idempotent. */
  end(): void {
    if (this.#over) return
    this.#over = true
    this.#backlog.clear()
    const { device } = this
    this.rings.close()
    this.messages.close()
    device.disconnect()
    if (this.agreement !== null) this.run(device.told.onDisconnect)
  }

  // -- one message --

  #serve(view: DataView, at: number, length: number): void {
    const problem = headerProblem(view, at, length)
    if (problem !== null) {
      this.abort(problem)
      return
    }
    if (isReply(view, at)) {
      if (!this.messages.take(view, at, length)) this.abort('a reply to nothing that was asked')
      return
    }
    const command = commandOf(view, at)
    this.#serving = true
    this.messages.hold()
    if (this.agreement !== null && command === COMMAND.regionRead) this.#read(view, at, length)
    else if (this.agreement !== null && command === COMMAND.regionWrite) this.#write(view, at, length)
    else this.#other(command, view, at, length)
    if (!this.#pending && !this.#over) this.messages.release()
    this.#serving = false
  }

  #read(view: DataView, at: number, length: number): void {
    const id = messageId(view, at)
    if (!io.isRegionRead(view, at, length)) {
      this.#refuse(view, at, EINVAL)
      return
    }
    const offset = io.accessOffset(view, at)
    const index = io.accessRegion(view, at)
    const count = io.accessCount(view, at)
    const region = this.#regions[index]
    this.#statistics.reads++
    let later: Promise<Uint8Array> | undefined
    if (region === undefined || offset + count > region.size) {
      this.#statistics.beyond++
      this.#ones(count)
    } else {
      try {
        later = readRegion(region, offset, count, this.channel.outData, io.ACCESS_DATA)
      } catch (error) {
        this.failed(error)
        if (error instanceof Denial && this.#deny(view, at, error)) return
        this.#ones(count)
      }
    }
    if (wantsNoReply(view, at)) {
      if (later !== undefined) this.#later(later)
      return
    }
    if (later === undefined) {
      this.#send(io.writeRegionReadReply(this.channel.outData, 0, id, index, offset, count))
      return
    }
    this.#await(later, (bytes) => {
      if (bytes === null) this.#ones(count)
      else this.channel.out.set(bytes, io.ACCESS_DATA)
      this.#send(io.writeRegionReadReply(this.channel.outData, 0, id, index, offset, count))
    })
  }

  /** What is read where nobody answers, as on the bus. An error would be worse: there are clients that wait on for the data. */
  #ones(count: number): void {
    this.channel.out.fill(0xff, io.ACCESS_DATA, io.ACCESS_DATA + count)
  }

  #write(view: DataView, at: number, length: number): void {
    if (!io.isRegionWrite(view, at, length)) {
      this.#refuse(view, at, EINVAL)
      return
    }
    const offset = io.accessOffset(view, at)
    const index = io.accessRegion(view, at)
    const count = io.accessCount(view, at)
    const denial = this.writeTo(index, offset, count, view, at + io.ACCESS_DATA)
    if (denial !== null && this.#deny(view, at, denial)) return
    if (wantsNoReply(view, at)) return
    const id = messageId(view, at)
    this.#send(io.writeRegionWriteReply(this.channel.outData, 0, id, index, offset, count))
  }

  /** One write to a region. @returns why it was denied; what else becomes of it, the client is not told */
  writeTo(index: number, offset: number, count: number, view: DataView, at: number): Denial | null {
    const region = this.#regions[index]
    this.#statistics.writes++
    if (region === undefined || offset + count > region.size) {
      this.#statistics.beyond++
      return null
    }
    try {
      writeRegion(region, offset, count, view, at, this.#later)
    } catch (error) {
      this.failed(error)
      if (error instanceof Denial) return error
    }
    return null
  }

  /** Tells a client that an access was denied; false for one that is not known to live with errors. */
  #deny(view: DataView, at: number, { errno }: Denial): boolean {
    if ((this.agreement?.minor ?? 0) < TAKES_ERRORS) return false
    this.#refuse(view, at, errno)
    return true
  }

  #other(command: number, view: DataView, at: number, length: number): void {
    const serve = COMMANDS[command]
    if ((this.agreement === null) !== (command === COMMAND.version)) {
      this.#refuse(view, at, EINVAL)
      this.abort(this.agreement === null ? `${commandName(command)} before a version` : 'a version twice')
      return
    }
    if (serve === undefined) {
      this.#refuse(view, at, ENOSYS)
      return
    }
    let result: Reply | Promise<Reply>
    try {
      result = serve(this, view, at, length)
    } catch (error) {
      this.#refused(view, at, error)
      return
    }
    if (!(result instanceof Promise)) {
      this.#answer(view, at, result)
      return
    }
    // The message may be overwritten before the answer comes.
    const kept = new DataView(new ArrayBuffer(HEADER_BYTES))
    for (let i = 0; i < HEADER_BYTES; i++) kept.setUint8(i, view.getUint8(at + i))
    this.#await(
      result.catch((error: unknown) => ({ error })),
      (reply) => {
        if (reply === null) this.#refused(kept, 0, new VfioError(ETIMEDOUT, commandName(command)))
        else if (typeof reply === 'object' && 'error' in reply) this.#refused(kept, 0, reply.error)
        else this.#answer(kept, 0, reply)
      },
    )
  }

  #answer(view: DataView, at: number, reply: Reply): void {
    const { encode, fds, after } = typeof reply === 'function' ? { encode: reply } : reply
    if (!wantsNoReply(view, at)) {
      try {
        this.#send(encode(this.channel.outData, messageId(view, at)), fds)
      } catch (error) {
        // The kernel does not take the descriptors; nothing was sent then.
        this.#refused(view, at, error)
        return
      }
    }
    if (!this.#over) after?.()
  }

  #refused(view: DataView, at: number, thrown: unknown): void {
    const known = thrown instanceof VfioError
    // What a client may try without harm is told to nobody.
    if (!known || thrown.reason !== 'no-feature') this.options.report(errorOf(thrown))
    if (!known) this.#statistics.failed++
    this.#refuse(view, at, known ? thrown.errno : EIO)
    if (this.agreement === null) this.abort('a version that cannot be agreed on')
  }

  #refuse(view: DataView, at: number, errno: number): void {
    this.#statistics.refused++
    if (wantsNoReply(view, at)) return
    const id = messageId(view, at)
    const command = commandOf(view, at)
    // Never longer than what was sent: QEMU has room for no more.
    const size = Math.min(REPLY_BYTES[command] ?? HEADER_BYTES, sizeOf(view, at))
    this.#send(writeError(this.channel.outData, 0, id, command, errno, size))
  }

  /** Sends what is in the buffer; nothing once the session is over, as when a handler has closed the server. */
  #send(size: number, fds?: readonly number[]): void {
    if (this.#over) return
    if (fds === undefined) this.channel.send(size)
    else this.channel.send(size, fds)
  }

  // -- answers that come later --

  /** Has an answer given when `later` is there, or with null when that fails, or the deadline is over. */
  #await<T>(later: Promise<T>, answer: (value: T | null) => void): void {
    this.#pending = true
    let open = true
    const settle = (value: T | null): void => {
      if (!open) return
      open = false
      clearTimeout(timer)
      this.#pending = false
      if (this.#over) return
      answer(value)
      this.messages.release()
      this.#catchUp()
      this.onSettled?.()
    }
    const { deadlineMillis } = this.options
    const timer = setTimeout(() => {
      this.#statistics.late++
      const remedy = `A handler has not answered within ${deadlineMillis} ms: the client was answered without it.`
      this.options.report(new VfioError(ETIMEDOUT, 'vfio-user', { subject: this.device.name, remedy }))
      settle(null)
    }, deadlineMillis)
    later.then(settle, (error: unknown) => {
      this.failed(error)
      settle(null)
    })
  }

  #keep(i: number, at: number, length: number): void {
    const { channel } = this
    const kept = this.#backlog.keep(channel.data, at, length, channel.descriptors(i), () =>
      channel.takeFds(i),
    )
    if (!kept) this.abort('more than can wait behind an answer')
  }

  #catchUp(): void {
    while (!this.#pending && !this.#over) {
      const waiting = this.#backlog.take()
      if (waiting === undefined) return
      const { view, fds } = waiting
      this.#stored = fds
      try {
        this.#serve(view, 0, view.byteLength)
      } finally {
        this.#closeStored()
      }
    }
  }

  /** Of a message that waited, what nobody took. */
  #closeStored(): void {
    this.#stored?.forEach(this.options.closeFd)
    this.#stored = null
  }
}
