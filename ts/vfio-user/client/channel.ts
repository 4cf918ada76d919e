// Channel: messages to a server and its replies. Owns the memory that messages are put together in; waiting, matching and the
// answers to what the server asks meanwhile are native. Knows nothing of devices.
import { EPROTO, VfioError, type VfioErrorContext } from '../../errors.js'
import { releaseNative } from '../../handle.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { ClientReply, ClientTerms } from '../../native/socket.js'
import { commandName } from '../protocol/constants.js'
import { commandOf } from '../protocol/header.js'

/** Room for every message but those that carry data. */
const SMALL = 512

/** Puts a message at the view's start, with any id; gives its size. */
export type Encode = (view: DataView) => number

export interface AskOptions {
  /** Whose descriptors go with it. */
  readonly handles?: readonly NativeHandle[]
  /** How many descriptors its reply may bring (default 0). */
  readonly mostFiles?: number
  /** Bytes that the message may have, where that is more than any without data. */
  readonly room?: number
}

/** A reply that is none of an error. */
export interface Reply {
  readonly view: DataView
  /** Bytes, with the header. */
  readonly length: number
  /** Of the descriptors that came with it. Whoever asked for some releases them. */
  readonly files: readonly NativeHandle[]
}

function replyOf({ message, files }: ClientReply): Reply {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  return { view, length: message.byteLength, files }
}

export class Channel {
  readonly #own: () => NativeHandle
  readonly #small = new DataView(new ArrayBuffer(SMALL))
  #terms: ClientTerms | undefined

  /** @param own gives the native object of the channel, or of its address space; throws once that is closed */
  constructor(own: () => NativeHandle) {
    this.#own = own
  }

  get native(): NativeHandle {
    return this.#own()
  }

  /** What was agreed with the server. */
  get terms(): ClientTerms {
    return (this.#terms ??= addon().userChannelTerms(this.#own()))
  }

  /** Waits for the reply. @throws VfioError with the server's errno, or with that of the connection's end */
  ask(encode: Encode, { handles = [], mostFiles = 0, room = SMALL }: AskOptions = {}): Reply {
    const message = this.#put(encode, room)
    return replyOf(addon().userChannelAskSync(this.#own(), message, handles, mostFiles))
  }

  /** `ask`, off the main thread. */
  async askLater(
    encode: Encode,
    { handles = [], mostFiles = 0, room = SMALL }: AskOptions = {},
  ): Promise<Reply> {
    const message = this.#put(encode, room)
    return replyOf(await addon().userChannelAsk(this.#own(), message, handles, mostFiles))
  }

  #put(encode: Encode, room: number): Uint8Array {
    const view = room <= SMALL ? this.#small : new DataView(new ArrayBuffer(room))
    return new Uint8Array(view.buffer, 0, encode(view))
  }
}

/** What a reply says; an error when it says nothing that can be. */
export function understood<T>(
  reply: Reply,
  decode: (view: DataView, at: number, length: number) => T | null,
): T {
  const told = decode(reply.view, 0, reply.length)
  if (told !== null) return told
  for (const file of reply.files) releaseNative(file)
  throw senseless(commandName(commandOf(reply.view, 0)))
}

/** A server said what cannot be. */
export function senseless(call: string, context: VfioErrorContext = {}): VfioError {
  return new VfioError(EPROTO, call, {
    remedy:
      "The server's answer is not one of the protocol, or contradicts itself: that is a fault of the server.",
    ...context,
  })
}
