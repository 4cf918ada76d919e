// What a command works on: a client's session as commands see it. Types only.
import type { Agreement } from '../protocol/negotiation.js'
import type { Windows } from '../windows.js'
import type { Channel } from './channel.js'
import type { EventWatch } from './interrupts.js'
import type { MessageDma } from './message-dma.js'
import type { Rings } from './rings.js'
import type { Denial, ServedDevice } from './served.js'
import type { ErrorHandler, ServerStatistics } from './statistics.js'

/** What a server gives to its sessions. */
export interface SessionOptions {
  readonly windows: () => Windows
  readonly watcher: EventWatch
  readonly report: ErrorHandler
  readonly statistics: ServerStatistics
  readonly deadlineMillis: number
  /** Closes a descriptor. */
  readonly closeFd: (fd: number) => void
}

export interface CommandContext {
  readonly device: ServedDevice
  readonly options: SessionOptions
  readonly channel: Channel
  readonly messages: MessageDma
  readonly rings: Rings
  /** Null until the client has said which version it speaks. */
  agreement: Agreement | null
  readonly over: boolean
  /** The descriptors of the message at hand, the caller's from here on. */
  takeFds(): number[]
  /** Runs a handler that nobody waits for. */
  run(handler: (() => unknown) | undefined): void
  /** One write to a region. @returns why it was denied; what else becomes of it, the client is not told */
  writeTo(index: number, offset: number, count: number, view: DataView, at: number): Denial | null
}
