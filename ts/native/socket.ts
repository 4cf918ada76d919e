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

/** Part of a region, and the memory that it is. */
export type PlainRangeShape = [
  region: number,
  start: number,
  size: number,
  memory: NativeHandle,
  offset: number,
  writable: boolean,
]

/** The hot functions of a connection, and the memory that they leave messages in and send them from. */
export interface ConnectionPort {
  /** Totals as doubles; from `connectionCountOffset` on numbers of 32 bits, see there. */
  readonly table: ArrayBuffer
  readonly in: ArrayBuffer
  readonly out: ArrayBuffer
  readonly receive: () => void
  /** Without milliseconds, or with less than 0, it is without end. */
  readonly wait: (milliseconds?: number, spinMicros?: number) => void
  /** False when the connection has ended; nothing otherwise. */
  readonly send: (length: number, fds?: readonly number[]) => false | undefined
  readonly sendBytes: (length: number, payload: Uint8Array, fds?: readonly number[]) => false | undefined
}

/** The functions of native/socket for the client of vfio-user. A channel is named by its own handle or its space's. */
export interface ClientFunctions {
  // -- channels --
  /** EAGAIN while the server has as many waiting as it lets wait. */
  userChannelConnect(path: string, ...options: ClientOptions): NativeHandle
  /** Takes the descriptor over, also when it is refused. */
  userChannelFromFd(fd: number, ...options: ClientOptions): NativeHandle
  /** Once, after the negotiation. `twin` is the file of the socket on which the server asks for memory; it is taken over. */
  userChannelAgree(
    channel: NativeHandle,
    minor: number,
    mostDescriptors: number,
    mostData: number,
    mostMaps: number,
    pageSizes: bigint,
    writeMultiple: boolean,
    twin: NativeHandle | null,
  ): void
  userChannelTerms(channel: NativeHandle): ClientTerms
  /** Sends a message, whose id is put in on the way, with the descriptors of handles; the whole reply, and what came with it. */
  userChannelAskSync(
    channel: NativeHandle,
    message: Uint8Array,
    handles: readonly NativeHandle[],
    mostDescriptors: number,
  ): ClientReply
  userChannelAsk(
    channel: NativeHandle,
    message: Uint8Array,
    handles: readonly NativeHandle[],
    mostDescriptors: number,
  ): Promise<ClientReply>
  /** What is mapped, flat: an address and a size each. */
  userChannelRanges(channel: NativeHandle): BigUint64Array
  /** Notes the pages that the server writes by message from now on; 0n ends that. */
  userChannelTrack(channel: NativeHandle, pageSize: bigint): void
  /** Adds them to a bitmap, and forgets them. */
  userChannelMarks(
    channel: NativeHandle,
    iova: bigint,
    size: bigint,
    pageSize: bigint,
    bitmap: Uint8Array,
  ): void
  /** The descriptor of a file that came with a reply, which is the caller's from then on. */
  fileTakeFd(file: NativeHandle): number

  // -- regions --
  /** A region's file as memory; of what knows no size, it is taken to be `least`. The file is taken over. */
  userRegionMemory(file: NativeHandle, least: number): NativeHandle
  /** `areas` is a flat list of offset, size pairs to map of the memory, in which the region begins at `fileOffset`. */
  userRegionOpen(
    channel: NativeHandle,
    index: number,
    size: number,
    readable: boolean,
    writable: boolean,
    posted: boolean,
    memoryLike: boolean,
    memory: NativeHandle | null,
    fileOffset: number,
    areas: readonly number[],
  ): NativeHandle

  // -- the memory shown to the server; what maps gives the mapping's owner --
  userSpaceOpen(channel: NativeHandle): NativeHandle
  userSpaceMapSync(...mapping: ClientMapping): NativeHandle
  userSpaceMap(...mapping: ClientMapping): Promise<NativeHandle>
  /** What has no file of its own: a region of another device. The server asks for it by message. */
  userSpaceMapPeerSync(...mapping: ClientMapping): NativeHandle
  userSpaceMapPeer(...mapping: ClientMapping): Promise<NativeHandle>
  /** Whatever has a descriptor: what the server asks for by message is not there. */
  userSpaceMapDescriptorSync(...mapping: ClientMapping<NativeHandle | number>): NativeHandle
  userSpaceMapDescriptor(...mapping: ClientMapping<NativeHandle | number>): Promise<NativeHandle>
  /** The bytes unmapped. */
  userSpaceUnmapSync(space: NativeHandle, iova: bigint, size: number | bigint): bigint
  userSpaceUnmap(space: NativeHandle, iova: bigint, size: number | bigint): Promise<bigint>
  userSpaceUnmapAll(space: NativeHandle): bigint
}

/** `posted`: writes to registers wait for no reply. */
export type ClientOptions = [timeoutMs: number, spinMicros: number, posted: boolean]

export type ClientMapping<Source = NativeHandle> = [
  space: NativeHandle,
  source: Source,
  offset: number,
  size: number,
  iova: bigint,
  flags: number,
]

/** What was agreed with a server, the bound of every wait for it, and whether writes wait at all. */
export interface ClientTerms {
  readonly minor: number
  readonly mostDescriptors: number
  readonly mostData: number
  readonly mostMaps: number
  readonly pageSizes: bigint
  readonly timeoutMs: number
  readonly posted: boolean
}

/** A reply, with its header, and the files that came with it. */
export interface ClientReply {
  readonly message: Uint8Array<ArrayBuffer>
  readonly files: NativeHandle[]
}

/** The functions of native/socket. */
export interface SocketFunctions extends ClientFunctions {
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
  /** Parts of regions that are answered as memory, instead of those of before. */
  connectionPlain(connection: NativeHandle, ranges: readonly PlainRangeShape[]): void
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
