// How a processor's Worker has an exit answered by the main thread, where devices are that are not the Worker's: shared words, an eventfd
// that wakes the main thread, Atomics.wait for the answer. One exit at a time, as a processor makes them. Knows no device.
import { EventFd } from '../../event/eventfd.js'
import type { ShareToken } from '../../handle.js'
import type { IoExit, MmioExit } from '../../kvm/index.js'
import { bytes, callable, instance, integer, object } from '../../validate.js'

/** What the Worker needs to open its end. Give it to the Worker with `workerData` or a message. */
export interface ExitChannelToken {
  readonly words: SharedArrayBuffer
  readonly bell: ShareToken<'EventFd'>
}

const WORD = { state: 0, kind: 1, isWrite: 2, size: 3, count: 4, port: 5, stop: 6 } as const
const STATE = { idle: 0, asked: 1, answered: 2 } as const
const KIND = { io: 0, mmio: 1 } as const
const ADDRESS_AT = 32
const DATA_AT = 40
/** A page of port data is the most that the kernel gives at once. */
const MOST_DATA = 4096
const BYTES = DATA_AT + MOST_DATA

class SharedExit {
  readonly buffer: SharedArrayBuffer
  readonly words: Int32Array<SharedArrayBuffer>
  readonly #view: DataView
  readonly #bytes: Uint8Array<SharedArrayBuffer>

  constructor(buffer: SharedArrayBuffer) {
    integer(
      instance(buffer, SharedArrayBuffer, 'token.words').byteLength,
      'token.words.byteLength',
      BYTES,
      BYTES,
    )
    this.buffer = buffer
    this.words = new Int32Array(buffer, 0, 8)
    this.#view = new DataView(buffer)
    this.#bytes = new Uint8Array(buffer, DATA_AT)
  }

  get(word: keyof typeof WORD): number {
    return this.words[WORD[word]] ?? 0
  }

  put(exit: IoExit | MmioExit): void {
    const { words } = this
    const isWrite = exit.reason === 'mmio' ? exit.isWrite : exit.direction === 'out'
    words[WORD.isWrite] = isWrite ? 1 : 0
    words[WORD.size] = bytes(exit.data, 'exit.data').length
    if (exit.reason === 'mmio') {
      words[WORD.kind] = KIND.mmio
      this.#view.setBigUint64(ADDRESS_AT, exit.address)
    } else {
      words[WORD.kind] = KIND.io
      words[WORD.count] = exit.count
      words[WORD.port] = exit.port
    }
    this.#bytes.set(bytes(exit.data, 'exit.data').subarray(0, MOST_DATA))
  }

  /** The exit, with a copy of its bytes. */
  take(): IoExit | MmioExit {
    const isWrite = this.get('isWrite') === 1
    const length = this.get('size')
    const data = this.#bytes.slice(0, length)
    if (this.get('kind') === KIND.mmio)
      return { reason: 'mmio', address: this.#view.getBigUint64(ADDRESS_AT), length, isWrite, data }
    const count = this.get('count')
    const direction = isWrite ? 'out' : 'in'
    return { reason: 'io', port: this.get('port'), direction, size: length / count, count, data }
  }

  /** Ends an exit that waits, and every one to come. Who asks looks for the stop behind his question, so that one of both is seen. */
  stop(): void {
    Atomics.store(this.words, WORD.stop, 1)
    Atomics.compareExchange(this.words, WORD.state, STATE.asked, STATE.idle)
    Atomics.notify(this.words, WORD.state)
  }

  get stopped(): boolean {
    return Atomics.load(this.words, WORD.stop) === 1
  }

  answer(data: Uint8Array): void {
    this.#bytes.set(data)
  }

  /** Fills what the processor reads. */
  fill(data: Uint8Array): void {
    data.set(this.#bytes.subarray(0, Math.min(data.length, MOST_DATA)))
  }
}

/** The main thread's end. */
export class ExitServer {
  readonly #shared = new SharedExit(new SharedArrayBuffer(BYTES))
  /** Signalled when there is an exit to answer: let a poller watch it, and call `serve()`. */
  readonly bell = new EventFd()
  #serving = false

  token(): ExitChannelToken {
    return { words: this.#shared.buffer, bell: this.bell.share() }
  }

  /**
   * Answers the exit that the bell announced, if it waits still.
   * @param handle puts what is read into `data`. When it throws the processor reads all ones and goes on; the error is thrown then
   */
  serve(handle: (exit: IoExit | MmioExit) => void): void {
    callable(handle, 'handle')
    const { words } = this.#shared
    // A handler that comes here again has its exit already.
    if (this.#serving || Atomics.load(words, WORD.state) !== STATE.asked) return
    const exit = this.#shared.take()
    this.#serving = true
    try {
      handle(exit)
    } catch (error) {
      exit.data.fill(0xff)
      throw error
    } finally {
      this.#serving = false
      this.#shared.answer(exit.data)
      // Unless the handler has stopped it: nobody waits then.
      Atomics.compareExchange(words, WORD.state, STATE.asked, STATE.answered)
      Atomics.notify(words, WORD.state)
    }
  }

  /** The processor is to end as soon as it is out of the guest: `vcpu.kick()` gets it out. An exit that waits is not answered. */
  stop(): void {
    this.#shared.stop()
  }

  /** A new Worker may begin with the same channel, as after a reset: once the one before has ended. */
  restart(): void {
    Atomics.store(this.#shared.words, WORD.stop, 0)
    Atomics.store(this.#shared.words, WORD.state, STATE.idle)
  }

  close(): void {
    this.bell.close()
  }
}

/** The Worker's end. */
export class ExitClient {
  readonly #shared: SharedExit
  readonly #bell: EventFd

  constructor(token: ExitChannelToken) {
    const { words, bell } = object(token, 'token')
    this.#shared = new SharedExit(words)
    this.#bell = EventFd.claim(bell)
  }

  /** Has an exit answered. Blocks until it is, or until the processor is to end: what it reads is then as it was. */
  ask(exit: IoExit | MmioExit): void {
    const { words } = this.#shared
    this.#shared.put(object(exit, 'exit'))
    Atomics.store(words, WORD.state, STATE.asked)
    if (this.stopped) {
      Atomics.compareExchange(words, WORD.state, STATE.asked, STATE.idle)
      return
    }
    this.#bell.signal()
    while (Atomics.load(words, WORD.state) === STATE.asked) Atomics.wait(words, WORD.state, STATE.asked)
    if (Atomics.load(words, WORD.state) === STATE.answered) this.#shared.fill(exit.data)
  }

  /** Whether the processor is to end. */
  get stopped(): boolean {
    return this.#shared.stopped
  }

  close(): void {
    this.#bell.close()
  }
}
