// DEVICE_GET_INFO, GET_REGION_INFO, GET_IRQ_INFO and RESET. The structures are the kernel's, behind a header, so that replies are
// read by the decoders of ts/uapi.
import {
  type DeviceInfo,
  type IrqInfo,
  type RegionArea,
  type RegionInfo,
  decodeDeviceInfo,
  decodeIrqInfo,
  decodeRegionInfo,
} from '../../uapi/vfio/device-info.js'
import { COMMAND, HEADER_BYTES, REGION_FLAG } from './constants.js'
import { writeCommand, writeReply, writeU64 } from './header.js'

const INFO_BYTES = 16
const REGION_BYTES = 32
const IRQ_BYTES = 16
const SPARSE_HEADER = 16
const AREA_BYTES = 16
const SPARSE_ID = 1
/** No region has more areas than a message holds; far fewer make sense. */
export const MOST_AREAS = 1024

function bytesOf(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at + HEADER_BYTES, length - HEADER_BYTES)
}

/** A request for one of several things. */
export interface IndexRequest {
  /** The bytes that the sender has room for in a reply, without the header. */
  readonly argsz: number
  readonly index: number
}

export function encodeReset(view: DataView, at: number, id: number): number {
  return writeCommand(view, at, id, COMMAND.deviceReset, HEADER_BYTES)
}

export function encodeGetInfo(view: DataView, at: number, id: number): number {
  view.setUint32(at + 16, INFO_BYTES, true)
  for (let each = 20; each < HEADER_BYTES + INFO_BYTES; each += 4) view.setUint32(at + each, 0, true)
  return writeCommand(view, at, id, COMMAND.deviceGetInfo, HEADER_BYTES + INFO_BYTES)
}

/** The sender's argsz; null for what is too short. */
export function decodeGetInfo(view: DataView, at: number, length: number): number | null {
  if (length < HEADER_BYTES + INFO_BYTES) return null
  const argsz = view.getUint32(at + 16, true)
  return argsz < INFO_BYTES ? null : argsz
}

export function encodeGetInfoReply(
  view: DataView,
  at: number,
  id: number,
  info: { readonly flags: number; readonly numRegions: number; readonly numIrqs: number },
): number {
  view.setUint32(at + 16, INFO_BYTES, true)
  view.setUint32(at + 20, info.flags, true)
  view.setUint32(at + 24, info.numRegions, true)
  view.setUint32(at + 28, info.numIrqs, true)
  return writeReply(view, at, id, COMMAND.deviceGetInfo, HEADER_BYTES + INFO_BYTES)
}

export function decodeGetInfoReply(view: DataView, at: number, length: number): DeviceInfo | null {
  if (length < HEADER_BYTES + INFO_BYTES) return null
  // Capabilities are an affair of later bytes, which nobody sends.
  const bytes = bytesOf(view, at, length)
  return bytes.byteLength < 20 ? decodeDeviceInfo(padded(bytes)) : decodeDeviceInfo(bytes)
}

/** With room for the field that says where capabilities are. */
function padded(bytes: Uint8Array): Uint8Array {
  const longer = new Uint8Array(24)
  longer.set(bytes)
  return longer
}

export function encodeGetRegionInfo(
  view: DataView,
  at: number,
  id: number,
  { argsz, index }: IndexRequest,
): number {
  view.setUint32(at + 16, argsz, true)
  view.setUint32(at + 20, 0, true)
  view.setUint32(at + 24, index, true)
  view.setUint32(at + 28, 0, true)
  writeU64(view, at + 32, 0)
  writeU64(view, at + 40, 0)
  return writeCommand(view, at, id, COMMAND.deviceGetRegionInfo, HEADER_BYTES + REGION_BYTES)
}

/** Null for what is too short. A structure that is cut off behind its index is one nevertheless. */
export function decodeGetRegionInfo(view: DataView, at: number, length: number): IndexRequest | null {
  if (length < HEADER_BYTES + REGION_BYTES) return null
  const argsz = view.getUint32(at + 16, true)
  return argsz < REGION_BYTES ? null : { argsz, index: view.getUint32(at + 24, true) }
}

/** A region, as its info says it. */
export interface RegionDescription {
  readonly index: number
  readonly flags: number
  readonly size: number
  /** Where in its descriptor's file the region begins. */
  readonly fileOffset: number
  /** What of it can be mapped, where that is not all. */
  readonly areas: readonly RegionArea[] | null
}

/** Bytes that a region's info needs, without the header. */
export function regionInfoBytes(areas: readonly RegionArea[] | null): number {
  return REGION_BYTES + (areas === null ? 0 : SPARSE_HEADER + areas.length * AREA_BYTES)
}

/**
 * The reply about a region. A sender without room for the areas gets the fixed part, which says how much they need, and no flag
 * for capabilities: then no descriptor is to go with it either.
 * @returns its size
 */
export function encodeRegionInfoReply(
  view: DataView,
  at: number,
  id: number,
  argsz: number,
  region: RegionDescription,
): number {
  const areas = region.areas
  const needed = regionInfoBytes(areas)
  const shows = argsz >= needed && areas !== null
  const size = HEADER_BYTES + (shows ? needed : REGION_BYTES)
  view.setUint32(at + 16, needed, true)
  view.setUint32(at + 20, (region.flags & ~REGION_FLAG.caps) | (shows ? REGION_FLAG.caps : 0), true)
  view.setUint32(at + 24, region.index, true)
  view.setUint32(at + 28, shows ? REGION_BYTES : 0, true)
  writeU64(view, at + 32, region.size)
  writeU64(view, at + 40, region.fileOffset)
  if (shows) putAreas(view, at + HEADER_BYTES + REGION_BYTES, areas)
  return writeReply(view, at, id, COMMAND.deviceGetRegionInfo, size)
}

function putAreas(view: DataView, at: number, areas: readonly RegionArea[]): void {
  view.setUint16(at, SPARSE_ID, true)
  view.setUint16(at + 2, 1, true)
  view.setUint32(at + 4, 0, true)
  view.setUint32(at + 8, areas.length, true)
  view.setUint32(at + 12, 0, true)
  areas.forEach(({ offset, size }, i) => {
    writeU64(view, at + SPARSE_HEADER + i * AREA_BYTES, offset)
    writeU64(view, at + SPARSE_HEADER + i * AREA_BYTES + 8, size)
  })
}

/** What a reply says of a region, and the bytes that all of it needs; null for what is too short, or no region can be. */
export function decodeRegionInfoReply(
  view: DataView,
  at: number,
  length: number,
): { readonly argsz: number; readonly info: RegionInfo } | null {
  if (length < HEADER_BYTES + REGION_BYTES) return null
  const info = decodeRegionInfo(bytesOf(view, at, length))
  if (!Number.isSafeInteger(info.size) || !Number.isSafeInteger(info.fileOffset)) return null
  return { argsz: view.getUint32(at + 16, true), info }
}

export function encodeGetIrqInfo(view: DataView, at: number, id: number, index: number): number {
  view.setUint32(at + 16, IRQ_BYTES, true)
  view.setUint32(at + 20, 0, true)
  view.setUint32(at + 24, index, true)
  view.setUint32(at + 28, 0, true)
  return writeCommand(view, at, id, COMMAND.deviceGetIrqInfo, HEADER_BYTES + IRQ_BYTES)
}

export function decodeGetIrqInfo(view: DataView, at: number, length: number): IndexRequest | null {
  if (length < HEADER_BYTES + IRQ_BYTES) return null
  const argsz = view.getUint32(at + 16, true)
  return argsz < IRQ_BYTES ? null : { argsz, index: view.getUint32(at + 24, true) }
}

export function encodeIrqInfoReply(
  view: DataView,
  at: number,
  id: number,
  irq: { readonly index: number; readonly flags: number; readonly count: number },
): number {
  view.setUint32(at + 16, IRQ_BYTES, true)
  view.setUint32(at + 20, irq.flags, true)
  view.setUint32(at + 24, irq.index, true)
  view.setUint32(at + 28, irq.count, true)
  return writeReply(view, at, id, COMMAND.deviceGetIrqInfo, HEADER_BYTES + IRQ_BYTES)
}

export function decodeIrqInfoReply(view: DataView, at: number, length: number): IrqInfo | null {
  return length < HEADER_BYTES + IRQ_BYTES ? null : decodeIrqInfo(bytesOf(view, at, length))
}
