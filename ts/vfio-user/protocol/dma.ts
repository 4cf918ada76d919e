// DMA_MAP and DMA_UNMAP, by which a client shows its memory; DMA_READ and DMA_WRITE, by which a server asks for it.
import { COMMAND, DMA_FLAG, MOST_DATA, UNMAP_FLAG } from './constants.js'
import { readU64, writeCommand, writeReply, writeU64 } from './header.js'

const MAX_U64 = 0xffff_ffff_ffff_ffffn
const MAP_BYTES = 32
const UNMAP_BYTES = 24
const BITMAP_HEADER = 16
/** From the message's start to the data of a DMA_READ's reply and of a DMA_WRITE. */
export const DMA_DATA = 32

/** A range of the client's memory; its descriptor, where it has one, comes with the message. */
export interface DmaMap {
  readonly flags: number
  /** Where in the descriptor's file the range begins. */
  readonly offset: bigint
  readonly iova: bigint
  readonly size: bigint
}

export interface DmaUnmap {
  readonly flags: number
  readonly iova: bigint
  readonly size: bigint
  /** The bitmap that is asked for by UNMAP_FLAG.dirtyBitmap: bytes per page, and bytes of the bitmap. */
  readonly bitmap?: { readonly pageSize: bigint; readonly bytes: number }
}

/** Null for what is too short, or for a range that reaches beyond 64 bits or is empty. */
export function decodeDmaMap(view: DataView, at: number, length: number): DmaMap | null {
  if (length < 16 + MAP_BYTES || view.getUint32(at + 16, true) < MAP_BYTES) return null
  const offset = view.getBigUint64(at + 24, true)
  const iova = view.getBigUint64(at + 32, true)
  const size = view.getBigUint64(at + 40, true)
  if (size === 0n || iova + size - 1n > MAX_U64 || offset + size - 1n > MAX_U64) return null
  return { flags: view.getUint32(at + 20, true), offset, iova, size }
}

export function encodeDmaMap(view: DataView, at: number, id: number, map: DmaMap): number {
  view.setUint32(at + 16, MAP_BYTES, true)
  view.setUint32(at + 20, map.flags, true)
  view.setBigUint64(at + 24, map.offset, true)
  view.setBigUint64(at + 32, map.iova, true)
  view.setBigUint64(at + 40, map.size, true)
  return writeCommand(view, at, id, COMMAND.dmaMap, 16 + MAP_BYTES)
}

/** Null for what is too short, for a range that reaches beyond 64 bits, and for a bitmap of no page size. */
export function decodeDmaUnmap(view: DataView, at: number, length: number): DmaUnmap | null {
  if (length < 16 + UNMAP_BYTES || view.getUint32(at + 16, true) < UNMAP_BYTES) return null
  const flags = view.getUint32(at + 20, true)
  const iova = view.getBigUint64(at + 24, true)
  const size = view.getBigUint64(at + 32, true)
  if (iova + size > MAX_U64 + 1n) return null
  if ((flags & UNMAP_FLAG.dirtyBitmap) === 0) return { flags, iova, size }
  if (length < 16 + UNMAP_BYTES + BITMAP_HEADER) return null
  const pageSize = view.getBigUint64(at + 40, true)
  const bytes = readU64(view, at + 48)
  if (pageSize === 0n || (pageSize & (pageSize - 1n)) !== 0n || bytes > MOST_DATA) return null
  return { flags, iova, size, bitmap: { pageSize, bytes } }
}

function putUnmap(view: DataView, at: number, unmap: DmaUnmap): number {
  const bitmap = unmap.bitmap
  const bytes = UNMAP_BYTES + (bitmap === undefined ? 0 : BITMAP_HEADER)
  view.setUint32(at + 16, bytes + (bitmap?.bytes ?? 0), true)
  view.setUint32(at + 20, unmap.flags, true)
  view.setBigUint64(at + 24, unmap.iova, true)
  view.setBigUint64(at + 32, unmap.size, true)
  if (bitmap !== undefined) {
    view.setBigUint64(at + 40, bitmap.pageSize, true)
    writeU64(view, at + 48, bitmap.bytes)
  }
  return 16 + bytes
}

export function encodeDmaUnmap(view: DataView, at: number, id: number, unmap: DmaUnmap): number {
  return writeCommand(view, at, id, COMMAND.dmaUnmap, putUnmap(view, at, unmap))
}

/** The reply says what was unmapped; the bitmap's bytes, where one was asked for, follow at the returned size less their number. */
export function encodeDmaUnmapReply(view: DataView, at: number, id: number, unmap: DmaUnmap): number {
  const size = putUnmap(view, at, unmap) + (unmap.bitmap?.bytes ?? 0)
  return writeReply(view, at, id, COMMAND.dmaUnmap, size)
}

/** The bytes unmapped and where in the message the bitmap is; null for what is too short. */
export function decodeDmaUnmapReply(
  view: DataView,
  at: number,
  length: number,
): { readonly size: bigint; readonly bitmapAt: number; readonly bitmapBytes: number } | null {
  if (length < 16 + UNMAP_BYTES) return null
  const size = view.getBigUint64(at + 32, true)
  if ((view.getUint32(at + 20, true) & UNMAP_FLAG.dirtyBitmap) === 0)
    return { size, bitmapAt: length, bitmapBytes: 0 }
  const bitmapAt = 16 + UNMAP_BYTES + BITMAP_HEADER
  if (length < bitmapAt) return null
  const bitmapBytes = readU64(view, at + 48)
  return bitmapBytes > length - bitmapAt ? null : { size, bitmapAt, bitmapBytes }
}

export function dmaAddress(view: DataView, at: number): bigint {
  return view.getBigUint64(at + 16, true)
}

export function dmaCount(view: DataView, at: number): number {
  return readU64(view, at + 24)
}

/** Whether the bytes are a whole DMA_READ. */
export function isDmaRead(view: DataView, at: number, length: number): boolean {
  return length >= DMA_DATA && dmaCount(view, at) <= MOST_DATA
}

/** Whether the bytes are a whole DMA_WRITE, or the whole reply to a DMA_READ. */
export function isDmaData(view: DataView, at: number, length: number): boolean {
  return length >= DMA_DATA && dmaCount(view, at) <= length - DMA_DATA
}

function putDma(view: DataView, at: number, iova: bigint, count: number): void {
  view.setBigUint64(at + 16, iova, true)
  writeU64(view, at + 24, count)
}

export function encodeDmaRead(view: DataView, at: number, id: number, iova: bigint, count: number): number {
  putDma(view, at, iova, count)
  return writeCommand(view, at, id, COMMAND.dmaRead, DMA_DATA)
}

/** Whose `count` bytes of data are at DMA_DATA already, or follow. */
export function encodeDmaReadReply(
  view: DataView,
  at: number,
  id: number,
  iova: bigint,
  count: number,
): number {
  putDma(view, at, iova, count)
  return writeReply(view, at, id, COMMAND.dmaRead, DMA_DATA + count)
}

/** Whose `count` bytes of data are at DMA_DATA already, or follow. */
export function encodeDmaWrite(view: DataView, at: number, id: number, iova: bigint, count: number): number {
  putDma(view, at, iova, count)
  return writeCommand(view, at, id, COMMAND.dmaWrite, DMA_DATA + count)
}

export function encodeDmaWriteReply(
  view: DataView,
  at: number,
  id: number,
  iova: bigint,
  count: number,
): number {
  putDma(view, at, iova, count)
  return writeReply(view, at, id, COMMAND.dmaWrite, DMA_DATA)
}

/** What the flags of a mapping let the device do. */
export function dmaAccess(flags: number): { readonly read: boolean; readonly write: boolean } {
  return { read: (flags & DMA_FLAG.read) !== 0, write: (flags & DMA_FLAG.write) !== 0 }
}
