// The registers of a region, as the addon has them: mapped where that was asked for, through the region's file elsewhere; and
// those of the kernel, whose file is the device's. The scalar accesses are in accessors.ts; this file adds what is called less
// often.
import { type NativeHandle, addon } from '../../native/index.js'
import type { RegionCounters, RegionRegisters } from '../backend.js'
import type { RegionArea, RegionInfo } from '../../uapi/vfio/device-info.js'
import { Accessors } from './accessors.js'
import './sigbus.js'

/** A native object that is a region, whoever opened it. */
export class NativeRegisters extends Accessors implements RegionRegisters {
  /** The native object. It knows of its own end, and refuses every call after it. */
  readonly native: NativeHandle

  constructor(native: NativeHandle) {
    super(native)
    this.native = native
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

function openNative(
  file: NativeHandle,
  { fileOffset, size, flags: { read, write } }: RegionInfo,
  areas: readonly RegionArea[],
): NativeHandle {
  const flat = areas.flatMap((area) => [area.offset, area.size])
  return addon().regionOpen(file, fileOffset, size, read, write, flat)
}

/** What the kernel gives of a region: part of the device's file. */
export class KernelRegisters extends NativeRegisters {
  readonly #file: () => NativeHandle
  readonly #info: RegionInfo

  /** @param file gives the file that the region is part of */
  constructor(file: () => NativeHandle, info: RegionInfo, areas: readonly RegionArea[]) {
    super(openNative(file(), info, areas))
    this.#file = file
    this.#info = info
  }

  window(offset: number, length: number): ArrayBuffer {
    const { fileOffset, flags } = this.#info
    return addon().regionWindow(this.#file(), fileOffset + offset, length, flags.read, flags.write)
  }
}
