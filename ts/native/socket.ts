// What native/socket gives to JavaScript: UNIX stream sockets that carry messages and descriptors. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** A connection's framing and bounds, in the order in which the addon takes them. */
export type ConnectionShape = [
  lengthOffset: number,
  headerBytes: number,
  maxMessage: number,
  lengthExtra: number,
  spareBytes: number,
  queueBytes: number,
]

/** The hot functions of a connection, and the memory that they leave messages in and send them from. */
export interface ConnectionPort {
  /** Totals as doubles; from `connectionCountOffset` on numbers of 32 bits, see there. */
  readonly table: ArrayBuffer
  readonly in: ArrayBuffer
  readonly out: ArrayBuffer
  readonly receive: () => void
  /** Less than 0 milliseconds is without end. */
  readonly wait: (milliseconds: number, spinMicros: number) => void
  /** False when the connection has ended; nothing otherwise. */
  readonly send: (length: number, fds?: readonly number[]) => false | undefined
  readonly sendBytes: (length: number, payload: Uint8Array, fds?: readonly number[]) => false | undefined
}

/** The functions of native/socket. */
export interface SocketFunctions {
  // -- listeners --
  listenerListen(path: string, backlog: number, mode: number | null): NativeHandle
  listenerFromFd(fd: number): NativeHandle
  listenerAccept(listener: NativeHandle, milliseconds: number, ...shape: ConnectionShape): NativeHandle | null

  // -- connections --
  connectionConnect(path: string, ...shape: ConnectionShape): NativeHandle
  connectionFromFd(fd: number, ...shape: ConnectionShape): NativeHandle
  connectionPair(...shape: ConnectionShape): [NativeHandle, NativeHandle]
  connectionFunctions(connection: NativeHandle): ConnectionPort
  /** The descriptors of a message; whoever calls closes them. */
  connectionTake(connection: NativeHandle, message: number): number[]
  /** Sends what waits; whether anything still does. */
  connectionFlush(connection: NativeHandle): boolean
  connectionHangUp(connection: NativeHandle): void
  /** A signal of the eventfd ends a wait too. */
  connectionWatch(connection: NativeHandle, eventfd: NativeHandle): void
  connectionUnwatch(connection: NativeHandle, eventfd: NativeHandle): void
  connectionPeer(connection: NativeHandle): { pid: number; uid: number; gid: number }
  /** The most messages of one receive. */
  readonly connectionMostMessages: number
  readonly connectionMostSpinMicros: number
  /** Bytes from the start of the table to its count; behind it more, end, the end's errno and what is queued. */
  readonly connectionCountOffset: number
  /** The same to the offsets of messages; their lengths and numbers of descriptors follow. */
  readonly connectionOffsetsOffset: number
}
