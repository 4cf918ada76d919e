// The registers of a region of a file: mapped where that was asked for, by pread and pwrite elsewhere. The scalar accesses are
// in accessors.ts; this file adds what is called less often.
import { type NativeHandle, addon } from '../../native/index.js'
import type { RegionCounters, RegionRegisters } from '../backend.js'
import type { RegionArea, RegionInfo } from '../info.js'
import { Accessors } from './accessors.js'

function openNative(
  file: NativeHandle,
  { fileOffset, size, flags: { read, write } }: RegionInfo,
  areas: readonly RegionArea[],
): NativeHandle {
  const flat = areas.flatMap((area) => [area.offset, area.size])
  return addon().regionOpen(file, fileOffset, size, read, write, flat)
}

/** What the kernel gives of a region: part of the device's file. */
export class KernelRegisters extends Accessors implements RegionRegisters {
  /** The native object. It knows of its own end, and refuses every call after it. */
  readonly native: NativeHandle
  readonly #file: () => NativeHandle
  readonly #info: RegionInfo

  /** @param file gives the file that the region is part of */
  constructor(file: () => NativeHandle, info: RegionInfo, areas: readonly RegionArea[]) {
    const native = openNative(file(), info, areas)
    super(native)
    this.native = native
    this.#file = file
    this.#info = info
  }

  poll(offset: number, width: number, mask: bigint, equals: bigint, timeoutMicros: number): bigint | null {
    return addon().registersPoll(this.native, offset, width, mask, equals, timeoutMicros)
  }

  read(offset: number, bytes: Uint8Array): void {
    addon().registersRead(this.native, offset, bytes)
  }

  write(offset: number, bytes: Uint8Array): void {
    addon().registersWrite(this.native, offset, bytes)
  }

  window(offset: number, length: number): ArrayBuffer {
    const { fileOffset, flags } = this.#info
    return addon().regionWindow(this.#file(), fileOffset + offset, length, flags.read, flags.write)
  }

  get faulted(): boolean {
    return addon().registersFaulted(this.native)
  }

  remap(): void {
    addon().registersRemap(this.native)
  }

  get counters(): RegionCounters {
    return addon().registersCounters(this.native)
  }

  close(): void {
    addon().registersClose(this.native)
  }
}
