// How a stream is cut into messages, and the bounds of a connection. Knows nothing of what the messages say.
import type { ConnectionShape } from '../../native/socket.js'
import { integer, object } from '../../validate.js'

/** Where each message says how long it is: 32 bits, little-endian, at a fixed place of its header. */
export interface Framing {
  /** Where in the header the length is, in bytes. */
  readonly lengthOffset: number
  /** The header's length, 4 to 4096 bytes. */
  readonly headerBytes: number
  /** The longest message, header included, in bytes: up to 64 MiB. A peer that announces more is cut off. */
  readonly maxMessage: number
  /** What is to be added to the length where it does not count the header (default 0). */
  readonly lengthExtra?: number
}

export interface ConnectionOptions {
  readonly framing: Framing
  /** Room for reading beside the longest message: 4096 bytes to 64 MiB (default 64 KiB). */
  readonly spareBytes?: number
  /** What may wait until the peer reads, 0 to 1 GiB (default 4 MiB). A peer that leaves more unread is cut off. */
  readonly queueBytes?: number
}

const MIB = 2 ** 20

/** The options as the addon takes them. @internal */
export function shapeOf(options: ConnectionOptions): ConnectionShape {
  const { framing, spareBytes = 64 * 1024, queueBytes = 4 * MIB } = object(options, 'options')
  const { lengthOffset, headerBytes, maxMessage, lengthExtra = 0 } = object(framing, 'options.framing')
  integer(headerBytes, 'framing.headerBytes', 4, 4096)
  return [
    integer(lengthOffset, 'framing.lengthOffset', 0, headerBytes - 4),
    headerBytes,
    integer(maxMessage, 'framing.maxMessage', headerBytes, 64 * MIB),
    integer(lengthExtra, 'framing.lengthExtra', 0, headerBytes),
    integer(spareBytes, 'spareBytes', 4096, 64 * MIB),
    integer(queueBytes, 'queueBytes', 0, 1024 * MIB),
  ]
}
