// Why a connection has ended, in words.
import { getSystemErrorMap } from 'node:util'

/**
 * - `peer-gone`: the peer closed between two messages, or its process ended.
 * - `cut-short`: it closed inside a message.
 * - `too-long`, `too-short`: it announced a message that is longer than allowed, or shorter than a header.
 * - `descriptors`: its descriptors did not come through, or came with bytes at which no message begins.
 * - `not-reading`: it leaves more unread than may wait for it.
 * - `failed`: the kernel refused; `errno` says why.
 * - `hung-up`: `hangUp()` was called.
 */
export type EndReason =
  'peer-gone' | 'cut-short' | 'too-long' | 'too-short' | 'descriptors' | 'not-reading' | 'failed' | 'hung-up'

/** How a connection ended. */
export interface ConnectionEnd {
  readonly reason: EndReason
  /** The kernel's errno where it has one, else 0. */
  readonly errno: number
  /** One sentence for a log. */
  readonly message: string
}

const SENTENCES: Readonly<Record<EndReason, string>> = {
  'peer-gone': 'The peer closed the connection.',
  'cut-short': 'The peer closed the connection inside a message.',
  'too-long': 'The peer announced a message longer than allowed.',
  'too-short': 'The peer announced a message shorter than a header.',
  descriptors: 'The descriptors that the peer sent did not come through, or belong to no message.',
  'not-reading': 'The peer does not read what is sent to it.',
  failed: 'The kernel refused the connection a call.',
  'hung-up': 'The connection was hung up on this side.',
}

// In the order of the addon's numbers, of which 0 means that it has not ended.
const REASONS = Object.keys(SENTENCES) as EndReason[]

/** What the addon's number means. @internal */
export function endOf(code: number, errno: number): ConnectionEnd | undefined {
  const reason = REASONS[code - 1]
  if (reason === undefined) return undefined
  const name = errno === 0 ? '' : ` (${getSystemErrorMap().get(-errno)?.[0] ?? String(errno)})`
  return { reason, errno, message: `${SENTENCES[reason]}${name}` }
}
