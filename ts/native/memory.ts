// What native/memory gives to JavaScript: memory, windows on it, the guard, and registers. A part of NativeAddon.
import type { NativeHandle } from './handle.js'

/** How a scalar access is called: arguments and result go through the exchange. */
type Access = () => void

/** The accessors of an environment, for all its regions. */
export interface RegisterAccessors {
  readonly read8: Access
  readonly read16: Access
  readonly read32: Access
  readonly read64: Access
  readonly read8Relaxed: Access
  readonly read16Relaxed: Access
  readonly read32Relaxed: Access
  readonly read64Relaxed: Access
  readonly write8: Access
  readonly write16: Access
  readonly write32: Access
  readonly write64: Access
  readonly write8Relaxed: Access
  readonly write16Relaxed: Access
  readonly write32Relaxed: Access
  readonly write64Relaxed: Access
  /** The number by which they know a region, in two parts. Never given twice. */
  enter(registers: NativeHandle): [region: number, generation: number]
}

/** The hot functions of a peer's windows. */
export interface WindowsPort {
  readonly copyIn: (iova: bigint, target: Uint8Array) => void
  readonly copyOut: (iova: bigint, source: Uint8Array) => void
  /** Pieces are addresses and sizes in turn. */
  readonly gather: (pieces: BigUint64Array, target: Uint8Array) => void
  readonly scatter: (pieces: BigUint64Array, source: Uint8Array) => void
  /** 0 not at all, 1 by messages, 2 in memory. */
  readonly reach: (iova: bigint, length: number, write: boolean) => number
}

/** The functions of native/memory. */
export interface MemoryFunctions {
  // -- memory --
  /** A memfd; `hugePageBits` is log2 of the huge page size, 0 for ordinary pages; `node` the NUMA node, if one. */
  memoryCreate(size: number, hugePageBits: number, node: number | null): NativeHandle
  memoryFromFd(fd: number): NativeHandle
  /** `sealed`: nobody can make it shorter. */
  memoryInfo(memory: NativeHandle): { size: number; pageSize: number; sealed: boolean }
  /** The physical address of each page, of memory that is locked for it; 0 where the process may not know. */
  memoryPages(memory: NativeHandle, offset: number, size: number): BigUint64Array
  memoryWindow(memory: NativeHandle, offset: number, length: number): ArrayBuffer
  pageSize(): number

  // -- windows on a peer's memory --
  windowsCreate(most: number, anyFile: boolean): NativeHandle
  windowsFunctions(windows: NativeHandle): WindowsPort
  /** Without a descriptor, -1, it is known only. The descriptor stays the caller's. */
  windowsAdd(
    windows: NativeHandle,
    iova: bigint,
    size: bigint,
    fd: number,
    offset: bigint,
    read: boolean,
    write: boolean,
  ): void
  /** Detaches the buffers too, which lie in it. */
  windowsRemove(windows: NativeHandle, iova: bigint, size: bigint, buffers: readonly ArrayBuffer[]): void
  windowsRemoveAll(windows: NativeHandle, buffers: readonly ArrayBuffer[]): void
  windowsDetach(buffers: readonly ArrayBuffer[]): void
  windowsView(windows: NativeHandle, iova: bigint, length: number): ArrayBuffer
  windowsCount(windows: NativeHandle): number
  /** From now on copies out mark pages of 2^shift bytes; null: they no longer do. */
  windowsLog(windows: NativeHandle, shift: number | null): void
  windowsMark(windows: NativeHandle, iova: bigint, length: number): void
  /** The marks of a range, which go with it. */
  windowsDirty(windows: NativeHandle, iova: bigint, size: bigint, shift: number): Uint8Array

  // -- the guard --
  /** False when somebody replaced the SIGBUS handler while BARs are mapped. */
  guardIntact(): boolean
  /** Puts the guard over whatever handler of SIGBUS is there now; whether that worked. */
  guardRestore(): boolean

  // -- registers --
  /** `exchange` is laid out as in ts/device/kernel/accessors.ts; the caller keeps it as long as it calls the functions. */
  registersAccessors(exchange: ArrayBuffer): RegisterAccessors
  registersPoll(
    registers: NativeHandle,
    offset: number,
    width: number,
    mask: bigint,
    equals: bigint,
    timeoutMicros: number,
  ): bigint | null
  registersRead(registers: NativeHandle, offset: number, bytes: Uint8Array): void
  registersWrite(registers: NativeHandle, offset: number, bytes: Uint8Array): void
  registersClose(registers: NativeHandle): void
  registersRemap(registers: NativeHandle): void
  registersFaulted(registers: NativeHandle): boolean
  registersCounters(registers: NativeHandle): { fileAccesses: number; bulkBytes: number }
}
