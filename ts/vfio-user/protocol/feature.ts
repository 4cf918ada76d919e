// DEVICE_FEATURE, and MIG_DATA_READ and MIG_DATA_WRITE, by which a migration's data goes.
import { COMMAND, HEADER_BYTES, MOST_DATA } from './constants.js'
import { writeCommand, writeReply } from './header.js'

const FIXED = 8
/** From the message's start to a feature's data, and to that of a migration. */
export const FEATURE_DATA = HEADER_BYTES + FIXED

/** VFIO_DEVICE_FEATURE_MIGRATION and so on: the ones that vfio-user has. */
export const FEATURE = {
  migration: 1,
  migDeviceState: 2,
  dmaLoggingStart: 6,
  dmaLoggingStop: 7,
  dmaLoggingReport: 8,
} as const

export interface FeatureCall {
  /** Room for a reply, without the header. */
  readonly argsz: number
  /** FEATURE_FLAG of ts/device/features, and the feature's number. */
  readonly flags: number
  /** Bytes of data in the message. */
  readonly bytes: number
}

/** Null for what is too short. */
export function decodeFeature(view: DataView, at: number, length: number): FeatureCall | null {
  if (length < FEATURE_DATA) return null
  const argsz = view.getUint32(at + 16, true)
  if (argsz < FIXED) return null
  return { argsz, flags: view.getUint32(at + 20, true), bytes: length - FEATURE_DATA }
}

function putFeature(view: DataView, at: number, argsz: number, flags: number): void {
  view.setUint32(at + 16, argsz, true)
  view.setUint32(at + 20, flags, true)
}

/** @param room bytes of data that the reply may have, where that is more than is sent */
export function encodeFeature(
  view: DataView,
  at: number,
  id: number,
  flags: number,
  data: Uint8Array,
  room: number = data.byteLength,
): number {
  putFeature(view, at, FIXED + Math.max(room, data.byteLength), flags)
  put(view, at + FEATURE_DATA, data)
  return writeCommand(view, at, id, COMMAND.deviceFeature, FEATURE_DATA + data.byteLength)
}

export function encodeFeatureReply(
  view: DataView,
  at: number,
  id: number,
  flags: number,
  data: Uint8Array,
): number {
  putFeature(view, at, FIXED + data.byteLength, flags)
  put(view, at + FEATURE_DATA, data)
  return writeReply(view, at, id, COMMAND.deviceFeature, FEATURE_DATA + data.byteLength)
}

function put(view: DataView, at: number, data: Uint8Array): void {
  new Uint8Array(view.buffer, view.byteOffset + at, data.byteLength).set(data)
}

/** How many bytes a MIG_DATA_READ asks for; -1 when it is none, or asks for more than a message carries. */
export function migReadSize(view: DataView, at: number, length: number): number {
  if (length < FEATURE_DATA || view.getUint32(at + 16, true) < FIXED) return -1
  const size = view.getUint32(at + 20, true)
  return size <= MOST_DATA ? size : -1
}

export function encodeMigRead(view: DataView, at: number, id: number, size: number): number {
  putFeature(view, at, FIXED + size, size)
  return writeCommand(view, at, id, COMMAND.migDataRead, FEATURE_DATA)
}

/** Whose `size` bytes of data are at FEATURE_DATA already, or follow. */
export function encodeMigReadReply(view: DataView, at: number, id: number, size: number): number {
  putFeature(view, at, FIXED + size, size)
  return writeReply(view, at, id, COMMAND.migDataRead, FEATURE_DATA + size)
}

/**
 * How many bytes the message brings: of a MIG_DATA_WRITE, or the reply to a MIG_DATA_READ. The message may be longer: what it
 * says is right. -1 when it is shorter.
 */
export function migDataSize(view: DataView, at: number, length: number): number {
  if (length < FEATURE_DATA) return -1
  const size = view.getUint32(at + 20, true)
  return size <= length - FEATURE_DATA ? size : -1
}

/** Whose `size` bytes of data are at FEATURE_DATA already, or follow. */
export function encodeMigWrite(view: DataView, at: number, id: number, size: number): number {
  putFeature(view, at, FIXED + size, size)
  return writeCommand(view, at, id, COMMAND.migDataWrite, FEATURE_DATA + size)
}
