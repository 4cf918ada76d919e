// DEVICE_GET_REGION_IO_FDS: descriptors that a VMM gives to its kernel, so that a guest's write signals the device without a
// message. Two lengths of an entry are in use; who reads tells them apart by the reply's length.
import type { IndexRequest } from './device-info.js'
import { COMMAND, HEADER_BYTES, IO_FD_FLAG, IO_FD_TYPE, MOST_FDS } from './constants.js'
import { readU64, writeCommand, writeReply, writeU64 } from './header.js'

const FIXED = 16
const ENTRY_BYTES = 40
/** libvfio-user's entries are so long, whatever their type. */
const LONG_ENTRY_BYTES = 48
/** Entries may share a descriptor; more of them than this for one region are refused. */
export const MOST_ENTRIES = 1024

export interface IoFd {
  /** Bytes from the region's start. */
  readonly offset: number
  /** The width of the write: 1, 2, 4 or 8 bytes, or 0 for any. */
  readonly size: number
  /** Which of the descriptors of the message. */
  readonly fdIndex: number
  /** One of IO_FD_TYPE. */
  readonly type: number
  /** Of IO_FD_FLAG. */
  readonly flags: number
  /** What is to be written, with IO_FD_FLAG.datamatch. */
  readonly datamatch: bigint
}

export function encodeGetIoFds(
  view: DataView,
  at: number,
  id: number,
  { argsz, index }: IndexRequest,
): number {
  view.setUint32(at + 16, argsz, true)
  view.setUint32(at + 20, 0, true)
  view.setUint32(at + 24, index, true)
  view.setUint32(at + 28, 0, true)
  return writeCommand(view, at, id, COMMAND.deviceGetRegionIoFds, HEADER_BYTES + FIXED)
}

/** Null for what is too short, and for flags and a count that are not 0. */
export function decodeGetIoFds(view: DataView, at: number, length: number): IndexRequest | null {
  if (length < HEADER_BYTES + FIXED) return null
  const argsz = view.getUint32(at + 16, true)
  if (argsz < FIXED || view.getUint32(at + 20, true) !== 0 || view.getUint32(at + 28, true) !== 0) return null
  return { argsz, index: view.getUint32(at + 24, true) }
}

/** Bytes that a reply with so many entries needs, without the header. */
export function ioFdsBytes(count: number): number {
  return FIXED + count * ENTRY_BYTES
}

/**
 * The reply. A sender without room for the entries gets the fixed part, which says how many there are and what they need; no
 * descriptors are to go with it then.
 */
export function encodeIoFdsReply(
  view: DataView,
  at: number,
  id: number,
  request: IndexRequest,
  entries: readonly IoFd[],
): number {
  const needed = ioFdsBytes(entries.length)
  const complete = request.argsz >= needed
  view.setUint32(at + 16, needed, true)
  view.setUint32(at + 20, 0, true)
  view.setUint32(at + 24, request.index, true)
  view.setUint32(at + 28, entries.length, true)
  if (complete)
    entries.forEach((entry, i) => putEntry(view, at + HEADER_BYTES + FIXED + i * ENTRY_BYTES, entry))
  const size = HEADER_BYTES + (complete ? needed : FIXED)
  return writeReply(view, at, id, COMMAND.deviceGetRegionIoFds, size)
}

function putEntry(view: DataView, at: number, entry: IoFd): void {
  writeU64(view, at, entry.offset)
  writeU64(view, at + 8, entry.size)
  view.setUint32(at + 16, entry.fdIndex, true)
  view.setUint32(at + 20, entry.type, true)
  view.setUint32(at + 24, entry.flags, true)
  view.setUint32(at + 28, 0, true)
  view.setBigUint64(at + 32, entry.datamatch, true)
}

/** The entries, and the bytes that all of them need: none where the reply has no room for them. Null for what cannot be right. */
export function decodeIoFdsReply(
  view: DataView,
  at: number,
  length: number,
): { readonly argsz: number; readonly count: number; readonly entries: readonly IoFd[] } | null {
  if (length < HEADER_BYTES + FIXED) return null
  const argsz = view.getUint32(at + 16, true)
  const count = view.getUint32(at + 28, true)
  const room = length - HEADER_BYTES - FIXED
  if (count > MOST_ENTRIES) return null
  if (count === 0 || room === 0) return { argsz, count, entries: [] }
  // The length of the reply is what was really sent; argsz is what somebody wrote down.
  const bytes = [LONG_ENTRY_BYTES, ENTRY_BYTES].find((each) => each * count === Math.min(room, argsz - FIXED))
  if (bytes === undefined || bytes * count > room) return null
  const first = at + HEADER_BYTES + FIXED
  const entries = Array.from({ length: count }, (_, i) => entryAt(view, first + i * bytes, bytes))
  return entries.every(isEntry) ? { argsz, count, entries } : null
}

function entryAt(view: DataView, at: number, bytes: number): IoFd {
  return {
    offset: readU64(view, at),
    size: readU64(view, at + 8),
    fdIndex: view.getUint32(at + 16, true),
    type: view.getUint32(at + 20, true),
    flags: view.getUint32(at + 24, true),
    datamatch: view.getBigUint64(at + bytes - 8, true),
  }
}

function isEntry({ offset, size, fdIndex, type }: IoFd): boolean {
  return (
    Number.isSafeInteger(offset) &&
    [0, 1, 2, 4, 8].includes(size) &&
    fdIndex < MOST_FDS &&
    type <= IO_FD_TYPE.shadow
  )
}

/** Whether an entry's write has to have a value. */
export function matchesData({ flags }: IoFd): boolean {
  return (flags & IO_FD_FLAG.datamatch) !== 0
}
