// DMA by messages, for memory that a client shows without a descriptor. One message at a time, in order; none while a command is
// being answered, since a client that waits for that answer takes no other message.
import { EIO, ETIMEDOUT, VfioError } from '../../errors.js'
import { COMMAND, MOST_DATA, MOST_DMA_READ, commandName } from '../protocol/constants.js'
import { DMA_DATA, dmaCount, encodeDmaRead, encodeDmaWrite, isDmaData } from '../protocol/dma.js'
import { commandOf, errnoOf, isError, messageId } from '../protocol/header.js'
import type { Channel } from './channel.js'
import type { MessageTransfer } from './dma.js'
import type { ServerStatistics } from './statistics.js'

const ANSWER_MILLISECONDS = 5000
/** What came after its time is known by its id, so that it is not taken for garbage. */
const MOST_ABANDONED = 64
const ECONNRESET = 104

interface Request {
  readonly command: number
  readonly iova: bigint
  readonly bytes: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: VfioError) => void
}

export class MessageDma implements MessageTransfer {
  readonly #channel: Channel
  readonly #name: string
  readonly #statistics: ServerStatistics
  readonly #waiting: Request[] = []
  readonly #abandoned = new Set<number>()
  #mostData = MOST_DATA
  #current: Request | null = null
  #timer: NodeJS.Timeout | undefined
  #id = 0
  #held = false
  #over = false

  constructor(channel: Channel, name: string, statistics: ServerStatistics) {
    this.#channel = channel
    this.#name = name
    this.#statistics = statistics
  }

  /** Bytes that one message may carry, as agreed. */
  set mostData(bytes: number) {
    this.#mostData = bytes
  }

  async read(iova: bigint, target: Uint8Array): Promise<void> {
    const most = Math.min(MOST_DMA_READ, this.#mostData)
    for (let at = 0; at < target.length; at += most)
      await this.#request(COMMAND.dmaRead, iova + BigInt(at), target.subarray(at, at + most))
    this.#statistics.dmaRead += target.length
  }

  async write(iova: bigint, source: Uint8Array): Promise<void> {
    const parts: Promise<void>[] = []
    // All of them at once into the queue, so that nothing that is written later comes between them.
    for (let at = 0; at < source.length; at += this.#mostData) {
      // A copy: the caller may go on with its bytes.
      const part = source.slice(at, at + this.#mostData)
      parts.push(this.#request(COMMAND.dmaWrite, iova + BigInt(at), part))
    }
    await Promise.all(parts)
    this.#statistics.dmaWritten += source.length
  }

  get busy(): boolean {
    return this.#current !== null || this.#waiting.length > 0
  }

  /** A command is being answered. */
  hold(): void {
    this.#held = true
  }

  /** It was answered. */
  release(): void {
    this.#held = false
    if (this.#waiting.length > 0) this.#next()
  }

  /** A reply of the client's; false when it is none to what was asked. */
  take(view: DataView, at: number, length: number): boolean {
    const request = this.#current
    const id = messageId(view, at)
    const answers = request !== null && id === this.#id && commandOf(view, at) === request.command
    if (!answers) return this.#abandoned.delete(id)
    this.#settle(() => {
      if (isError(view, at)) {
        request.reject(this.#refusal(errnoOf(view, at) || EIO, request))
        return
      }
      if (request.command === COMMAND.dmaRead) {
        const bytes = request.bytes
        if (!isDmaData(view, at, length) || dmaCount(view, at) < bytes.length) {
          request.reject(this.#refusal(EIO, request, 'The client has sent fewer bytes than were asked for.'))
          return
        }
        bytes.set(new Uint8Array(view.buffer, view.byteOffset + at + DMA_DATA, bytes.length))
      }
      request.resolve()
    })
    return true
  }

  /** The client is gone. */
  close(): void {
    this.#over = true
    clearTimeout(this.#timer)
    const left = this.#current === null ? this.#waiting : [this.#current, ...this.#waiting]
    this.#current = null
    for (const request of left) request.reject(this.#refusal(ECONNRESET, request, 'The client is gone.'))
    this.#waiting.length = 0
  }

  #request(command: number, iova: bigint, bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = { command, iova, bytes, resolve, reject }
      if (this.#over) {
        reject(this.#refusal(ECONNRESET, request, 'The client is gone.'))
        return
      }
      this.#waiting.push(request)
      this.#next()
    })
  }

  #next(): void {
    if (this.#held || this.#current !== null || this.#over) return
    const request = this.#waiting.shift()
    if (request === undefined) return
    this.#current = request
    this.#id = (this.#id + 1) & 0xffff
    this.#timer = setTimeout(() => {
      this.#abandon()
    }, ANSWER_MILLISECONDS)
    const { command, iova, bytes } = request
    const { outData } = this.#channel
    // What nobody gets is rejected when the end of the connection comes.
    if (command === COMMAND.dmaRead)
      this.#channel.send(encodeDmaRead(outData, 0, this.#id, iova, bytes.length))
    else {
      encodeDmaWrite(outData, 0, this.#id, iova, bytes.length)
      this.#channel.sendBytes(DMA_DATA, bytes)
    }
  }

  #abandon(): void {
    const request = this.#current
    if (request === null) return
    if (this.#abandoned.size < MOST_ABANDONED) this.#abandoned.add(this.#id)
    this.#settle(() => {
      const remedy = `The client has not answered for ${ANSWER_MILLISECONDS / 1000} seconds.`
      request.reject(this.#refusal(ETIMEDOUT, request, remedy))
    })
  }

  #settle(how: () => void): void {
    clearTimeout(this.#timer)
    this.#current = null
    how()
    this.#next()
  }

  #refusal(errno: number, { command, iova, bytes }: Request, remedy?: string): VfioError {
    const subject = `${bytes.length} bytes of ${this.#name}'s client at 0x${iova.toString(16)}`
    return new VfioError(
      errno,
      commandName(command),
      remedy === undefined ? { subject } : { subject, remedy },
    )
  }
}
