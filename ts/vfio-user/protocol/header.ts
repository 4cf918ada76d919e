// The header of every message: read, written and judged in place. Nothing here allocates: it is on the path of a register.
import { HEADER_BYTES, MOST_MESSAGE } from './constants.js'

const TYPE_MASK = 0xf
const TYPE_REPLY = 1
const NO_REPLY = 1 << 4
const ERROR = 1 << 5

/** Ids belong to who sends the command; both sides count their own. */
export function messageId(view: DataView, at: number): number {
  return view.getUint16(at, true)
}

export function commandOf(view: DataView, at: number): number {
  return view.getUint16(at + 2, true)
}

/** The whole length, with the header, as the sender says it. */
export function sizeOf(view: DataView, at: number): number {
  return view.getUint32(at + 4, true)
}

export function isReply(view: DataView, at: number): boolean {
  return (view.getUint32(at + 8, true) & TYPE_MASK) === TYPE_REPLY
}

/** Whether the sender of a command wants no reply to it, an error neither. */
export function wantsNoReply(view: DataView, at: number): boolean {
  return (view.getUint32(at + 8, true) & NO_REPLY) !== 0
}

/** Whether a reply is an error: then what follows the header says nothing, and its errno may be 0 nevertheless. */
export function isError(view: DataView, at: number): boolean {
  return (view.getUint32(at + 8, true) & ERROR) !== 0
}

export function errnoOf(view: DataView, at: number): number {
  return view.getUint32(at + 12, true)
}

/** What is wrong with a header, in words; null when it can be the beginning of a message of `length` bytes. */
export function headerProblem(view: DataView, at: number, length: number): string | null {
  if (length < HEADER_BYTES) return `a message of ${length} bytes has no header`
  const size = sizeOf(view, at)
  if (size < HEADER_BYTES) return `a message that says to be ${size} bytes long`
  if (size > MOST_MESSAGE) return `a message of ${size} bytes, above ${MOST_MESSAGE}`
  if (size !== length) return `a message of ${length} bytes that says to be ${size} long`
  const type = view.getUint32(at + 8, true) & TYPE_MASK
  return type > TYPE_REPLY ? `a message of type ${type}, neither a command nor a reply` : null
}

function write(view: DataView, at: number, id: number, command: number, size: number, flags: number): void {
  view.setUint16(at, id, true)
  view.setUint16(at + 2, command, true)
  view.setUint32(at + 4, size, true)
  view.setUint32(at + 8, flags, true)
  view.setUint32(at + 12, 0, true)
}

/** The header of a command. @returns `size` */
export function writeCommand(view: DataView, at: number, id: number, command: number, size: number): number {
  write(view, at, id, command, size, 0)
  return size
}

/** The header of a command to which no reply is wanted. @returns `size` */
export function writePosted(view: DataView, at: number, id: number, command: number, size: number): number {
  write(view, at, id, command, size, NO_REPLY)
  return size
}

/** The header of the reply to a command. @returns `size` */
export function writeReply(view: DataView, at: number, id: number, command: number, size: number): number {
  write(view, at, id, command, size, TYPE_REPLY)
  return size
}

/**
 * A whole error reply.
 * @param size its header (the default), or more, which is zeros: for those that wait for as much as there would be without an error
 * @returns its size
 */
export function writeError(
  view: DataView,
  at: number,
  id: number,
  command: number,
  errno: number,
  size = HEADER_BYTES,
): number {
  write(view, at, id, command, size, TYPE_REPLY | ERROR)
  view.setUint32(at + 12, errno, true)
  for (let i = HEADER_BYTES; i < size; i++) view.setUint8(at + i, 0)
  return size
}

/**
 * 64 bits as a number: exact up to 2^53, and above that still above it. For offsets and counts, which have a bound far below:
 * a bigint would allocate.
 */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true)
}

/** @param value a whole number from 0 to 2^53 - 1 */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true)
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
}
