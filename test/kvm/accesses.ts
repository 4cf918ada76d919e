// Makes the accesses of a guest without one: exits, for a bus.
import type { IoExit, MmioExit } from '../../ts/kvm/index.js'

type Width = 1 | 2 | 4

export interface Accesses {
  /** Reads a port, or writes a value to it. */
  port(port: number, width: Width, value?: number): number
  memory(address: bigint, width: Width, value?: number): number
  /** The configuration space of function 0 of a slot, in ECAM. */
  config(slot: number, offset: number, width: Width, value?: number): number
  /** A BAR of it, wherever it is. */
  bar(slot: number, index: number, offset: number, width: Width, value?: number): number
}

/** @param ecam where the configuration space is */
export function accesses(bus: { serve(exit: IoExit | MmioExit): boolean }, ecam: bigint): Accesses {
  const bytesOf = (width: number, value = 0): Uint8Array => {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, value, true)
    return bytes.subarray(0, width)
  }
  const answered = (exit: IoExit | MmioExit, isRead: boolean): number => {
    if (!bus.serve(exit) && isRead) exit.data.fill(0xff)
    return exit.data.reduceRight((sum, byte) => sum * 256 + byte, 0)
  }
  const made: Accesses = {
    port(port, size, value) {
      const direction = value === undefined ? 'in' : 'out'
      const exit: IoExit = { reason: 'io', port, size, count: 1, data: bytesOf(size, value), direction }
      return answered(exit, value === undefined)
    },
    memory(address, length, value) {
      const isWrite = value !== undefined
      const exit: MmioExit = { reason: 'mmio', address, length, data: bytesOf(length, value), isWrite }
      return answered(exit, !isWrite)
    },
    config: (slot, offset, width, value) => made.memory(ecam + BigInt((slot << 15) | offset), width, value),
    bar(slot, index, offset, width, value) {
      const register = 0x10 + 4 * index
      const low = made.config(slot, register, 4)
      const high = (low & 7) === 4 ? BigInt(made.config(slot, register + 4, 4)) << 32n : 0n
      return made.memory(high + BigInt((low & ~15) >>> 0) + BigInt(offset), width, value)
    },
  }
  return made
}
