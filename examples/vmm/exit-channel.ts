// How a vCPU's Worker asks the main thread, where the devices are, to carry out an access: a few shared words, an eventfd
// to wake the main thread, Atomics.wait for the answer. One access at a time, as a processor makes them.
import { EventFd, type ShareToken } from 'node-vfio'

export type Space = 'port' | 'memory'

/** One access of 1, 2, 4 or 8 bytes. */
export interface Access {
  space: Space
  address: bigint
  size: number
  /** What is written; undefined for a read. */
  value: bigint | undefined
}

/** What the Worker needs to open its end. */
export interface ChannelToken {
  words: SharedArrayBuffer
  bell: ShareToken<'EventFd'>
}

const WORD = { state: 0, space: 1, size: 2, write: 3, stop: 4 } as const
const STATE = { idle: 0, asked: 1, answered: 2 } as const
const ADDRESS_OFFSET = 24
const VALUE_OFFSET = 32
const BYTES = 40

class SharedWords {
  readonly buffer: SharedArrayBuffer
  readonly words: Int32Array<SharedArrayBuffer>
  readonly #view: DataView

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.words = new Int32Array(buffer)
    this.#view = new DataView(buffer)
  }

  get address(): bigint {
    return this.#view.getBigUint64(ADDRESS_OFFSET)
  }

  set address(address: bigint) {
    this.#view.setBigUint64(ADDRESS_OFFSET, address)
  }

  get value(): bigint {
    return this.#view.getBigUint64(VALUE_OFFSET)
  }

  set value(value: bigint) {
    this.#view.setBigUint64(VALUE_OFFSET, value)
  }
}

/** The main thread's end. */
export class ExitServer {
  readonly #shared = new SharedWords(new SharedArrayBuffer(BYTES))
  /** Signalled when there is an access to carry out. */
  readonly bell = new EventFd()

  token(): ChannelToken {
    return { words: this.#shared.buffer, bell: this.bell.share() }
  }

  /** Carries out the access that the bell announced; `handle` gives what a read reads. */
  serve(handle: (access: Access) => bigint): void {
    const { words } = this.#shared
    const value = handle({
      space: words[WORD.space] === 0 ? 'port' : 'memory',
      address: this.#shared.address,
      size: words[WORD.size] ?? 0,
      value: words[WORD.write] === 1 ? this.#shared.value : undefined,
    })
    this.#shared.value = value
    Atomics.store(words, WORD.state, STATE.answered)
    Atomics.notify(words, WORD.state)
  }

  /** The vCPU is to end as soon as it is out of the guest. */
  stop(): void {
    Atomics.store(this.#shared.words, WORD.stop, 1)
  }

  close(): void {
    this.bell.close()
  }
}

/** The Worker's end. */
export class ExitClient {
  readonly #shared: SharedWords
  readonly #bell: EventFd

  constructor({ words, bell }: ChannelToken) {
    this.#shared = new SharedWords(words)
    this.#bell = EventFd.claim(bell)
  }

  /** Has an access carried out; what a read gives. */
  ask({ space, address, size, value }: Access): bigint {
    const { words } = this.#shared
    words[WORD.space] = space === 'port' ? 0 : 1
    words[WORD.size] = size
    words[WORD.write] = value === undefined ? 0 : 1
    this.#shared.address = address
    this.#shared.value = value ?? 0n
    Atomics.store(words, WORD.state, STATE.asked)
    this.#bell.signal()
    while (Atomics.load(words, WORD.state) === STATE.asked) Atomics.wait(words, WORD.state, STATE.asked)
    return this.#shared.value
  }

  /** Whether the vCPU is to end. */
  get stopped(): boolean {
    return Atomics.load(this.#shared.words, WORD.stop) === 1
  }

  close(): void {
    this.#bell.close()
  }
}
