// REGION_READ, REGION_WRITE and REGION_WRITE_MULTI: the path of a register. Read and written in place, nothing allocates.
import { COMMAND, MOST_DATA, MULTI_WRITE_BYTES } from './constants.js'
import { readU64, writeCommand, writePosted, writeReply, writeU64 } from './header.js'

/** From the message's start to the data of a read's reply and of a write, and the bytes of either without its data. */
export const ACCESS_DATA = 32
export const ACCESS_BYTES = 32
/** From the message's start to the first write of several. */
export const MULTI_FIRST = 24

/** The offset in the region; above 2^53 no longer exact, and beyond any region. */
export function accessOffset(view: DataView, at: number): number {
  return readU64(view, at + 16)
}

export function accessRegion(view: DataView, at: number): number {
  return view.getUint32(at + 24, true)
}

/** How many bytes are asked for, or written. */
export function accessCount(view: DataView, at: number): number {
  return view.getUint32(at + 28, true)
}

/** Whether the bytes are a whole REGION_READ, of no more data than a message carries. */
export function isRegionRead(view: DataView, at: number, length: number): boolean {
  return length >= ACCESS_BYTES && accessCount(view, at) <= MOST_DATA
}

/** Whether the bytes are a whole REGION_WRITE, with all of the data that it says. */
export function isRegionWrite(view: DataView, at: number, length: number): boolean {
  if (length < ACCESS_BYTES) return false
  const count = accessCount(view, at)
  return count <= MOST_DATA && length >= ACCESS_BYTES + count
}

function writeAccess(view: DataView, at: number, offset: number, region: number, count: number): void {
  writeU64(view, at + 16, offset)
  view.setUint32(at + 24, region, true)
  view.setUint32(at + 28, count, true)
}

/** @returns the bytes of the message, here and below */
export function writeRegionRead(
  view: DataView,
  at: number,
  id: number,
  region: number,
  offset: number,
  count: number,
): number {
  writeAccess(view, at, offset, region, count)
  return writeCommand(view, at, id, COMMAND.regionRead, ACCESS_BYTES)
}

/** A read's reply, whose `count` bytes of data are at ACCESS_DATA already, or follow. */
export function writeRegionReadReply(
  view: DataView,
  at: number,
  id: number,
  region: number,
  offset: number,
  count: number,
): number {
  writeAccess(view, at, offset, region, count)
  return writeReply(view, at, id, COMMAND.regionRead, ACCESS_BYTES + count)
}

/** A write, whose `count` bytes of data are at ACCESS_DATA already, or follow. */
export function writeRegionWrite(
  view: DataView,
  at: number,
  id: number,
  region: number,
  offset: number,
  count: number,
  posted: boolean,
): number {
  writeAccess(view, at, offset, region, count)
  const size = ACCESS_BYTES + count
  return posted
    ? writePosted(view, at, id, COMMAND.regionWrite, size)
    : writeCommand(view, at, id, COMMAND.regionWrite, size)
}

export function writeRegionWriteReply(
  view: DataView,
  at: number,
  id: number,
  region: number,
  offset: number,
  count: number,
): number {
  writeAccess(view, at, offset, region, count)
  return writeReply(view, at, id, COMMAND.regionWrite, ACCESS_BYTES)
}

/** Whether the bytes are the reply to a read of `count` bytes: it may be longer, never shorter. */
export function isRegionReadReply(view: DataView, at: number, length: number, count: number): boolean {
  return length >= ACCESS_BYTES + count && accessCount(view, at) === count
}

/** How many writes a REGION_WRITE_MULTI holds; -1 when the bytes are none, or not all of them. */
export function multiWrites(view: DataView, at: number, length: number): number {
  if (length < MULTI_FIRST) return -1
  const writes = readU64(view, at + 16)
  return writes <= Math.floor((length - MULTI_FIRST) / MULTI_WRITE_BYTES) ? writes : -1
}

/** Where one of the writes is. Its offset is there, its region 8 bytes on, its count 12, its data 16. */
export function multiWriteAt(at: number, index: number): number {
  return at + MULTI_FIRST + index * MULTI_WRITE_BYTES
}

export function multiOffset(view: DataView, write: number): number {
  return readU64(view, write)
}

export function multiRegion(view: DataView, write: number): number {
  return view.getUint32(write + 8, true)
}

/** From 0 to 8, where the sender keeps to the protocol. */
export function multiCount(view: DataView, write: number): number {
  return view.getUint32(write + 12, true)
}

/** Puts down one of the writes, but its data, which is 16 bytes on. */
export function putMultiWrite(
  view: DataView,
  write: number,
  region: number,
  offset: number,
  count: number,
): void {
  writeU64(view, write, offset)
  view.setUint32(write + 8, region, true)
  view.setUint32(write + 12, count, true)
}

export function writeMulti(view: DataView, at: number, id: number, writes: number, posted: boolean): number {
  writeU64(view, at + 16, writes)
  const size = MULTI_FIRST + writes * MULTI_WRITE_BYTES
  return posted
    ? writePosted(view, at, id, COMMAND.regionWriteMulti, size)
    : writeCommand(view, at, id, COMMAND.regionWriteMulti, size)
}

export function writeMultiReply(view: DataView, at: number, id: number, writes: number): number {
  writeU64(view, at + 16, writes)
  return writeReply(view, at, id, COMMAND.regionWriteMulti, MULTI_FIRST)
}
