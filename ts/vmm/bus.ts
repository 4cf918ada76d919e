// The buses of a guest: which device answers at a port, or at an address without memory. Turns exits into aligned accesses of 1, 2 or
// 4 bytes; it must not know devices, and nothing that a guest does here throws.
import type { IoExit, MmioExit } from '../kvm/index.js'
import { MAX_U64, bigint, callable, integer, object } from '../validate.js'

/** The bytes of one access. Wider ones of a guest come as several. */
export type Width = 1 | 2 | 4

/**
 * A device as a bus sees it. Offsets count from where it was attached, are aligned to the width, and lie within its range; `cpu` is the
 * processor that asks.
 */
export interface BusDevice {
  read(offset: number, width: Width, cpu: number): number
  write(offset: number, width: Width, value: number, cpu: number): void
}

export interface BusOptions {
  /** Told of an error that a device threw, once for each device. The access reads all ones, or goes nowhere. */
  readonly onError?: (error: unknown) => void
}

interface Attached {
  readonly start: number
  readonly end: number
  readonly device: BusDevice
}

const MOST_PORT = 0xffff
/** Addresses above are none that a processor has, and numbers are exact up to it. */
const MOST_ADDRESS = 2 ** 52

/** One address space: ranges by ascending address, none of which overlap. */
class Space {
  #ranges: Attached[] = []
  // Accesses come in runs to the same device.
  #last: Attached | undefined

  add(range: Attached): () => void {
    const place = this.#firstBehind(range.start)
    const next = this.#ranges[place]
    if (next !== undefined && next.start < range.end) {
      const taken = `0x${next.start.toString(16)}-0x${(next.end - 1).toString(16)}`
      throw new RangeError(`0x${range.start.toString(16)} overlaps what is attached at ${taken}`)
    }
    this.#ranges.splice(place, 0, range)
    return () => {
      this.#ranges = this.#ranges.filter((each) => each !== range)
      this.#last = undefined
    }
  }

  find(address: number): Attached | undefined {
    const last = this.#last
    if (last !== undefined && address >= last.start && address < last.end) return last
    const range = this.#ranges[this.#firstBehind(address)]
    if (range === undefined || address < range.start) return undefined
    this.#last = range
    return range
  }

  /** The first range that ends behind an address. */
  #firstBehind(address: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      const range = this.#ranges[middle]
      if (range !== undefined && range.end <= address) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The widest aligned access that begins there. */
function widthAt(address: number, left: number): Width {
  if (left >= 4 && address % 4 === 0) return 4
  return left >= 2 && address % 2 === 0 ? 2 : 1
}

/** A bus for ports and one for memory. */
export class Bus {
  readonly #ports = new Space()
  readonly #memory = new Space()
  readonly #failed = new WeakSet<BusDevice>()
  readonly #onError: (error: unknown) => void

  constructor(options: BusOptions = {}) {
    const { onError = () => undefined } = object(options, 'options')
    this.#onError = callable(onError, 'onError')
  }

  /**
   * Attaches a device to ports.
   * @returns what takes it away again
   * @throws RangeError where another one is
   */
  attachPorts(first: number, count: number, device: BusDevice): () => void {
    integer(first, 'first', 0, MOST_PORT)
    integer(count, 'count', 1, MOST_PORT + 1 - first)
    return this.#ports.add({ start: first, end: first + count, device: object(device, 'device') })
  }

  /**
   * Attaches a device to addresses without memory.
   * @returns what takes it away again
   * @throws RangeError where another one is, or beyond the addresses of 52 bits that processors have
   */
  attachMemory(address: bigint, size: number, device: BusDevice): () => void {
    bigint(address, 'address', 0n, MAX_U64)
    integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
    const start = Number(address)
    if (start + size > MOST_ADDRESS) throw new RangeError('address + size must lie below 2^52')
    return this.#memory.add({ start, end: start + size, device: object(device, 'device') })
  }

  /**
   * Answers an exit for ports or memory.
   * @param cpu the number of the processor, for devices that tell them apart
   * @returns false when nothing is attached where it begins; the exit is as it was then
   */
  serve(exit: IoExit | MmioExit, cpu = 0): boolean {
    object(exit, 'exit')
    if (exit.reason === 'mmio') {
      const { address, isWrite, data } = exit
      return this.#access(this.#memory, Number(address), data, isWrite, cpu)
    }
    const { port, direction, size, count, data } = exit
    if (count === 1) return this.#access(this.#ports, port, data, direction === 'out', cpu)
    integer(size, 'exit.size', 1, 4)
    integer(count, 'exit.count', 0, data.length)
    // A string instruction brings several at once, all for the same port.
    for (let i = 0; i < count; i++) {
      const part = data.subarray(i * size, (i + 1) * size)
      if (!this.#access(this.#ports, port, part, direction === 'out', cpu)) return false
    }
    return true
  }

  /** What a read gives where nobody answers, as on a real bus. */
  static answerNothing(exit: IoExit | MmioExit): void {
    object(exit, 'exit')
    const isRead = exit.reason === 'mmio' ? !exit.isWrite : exit.direction === 'in'
    if (isRead) exit.data.fill(0xff)
  }

  #access(space: Space, address: number, data: Uint8Array, isWrite: boolean, cpu: number): boolean {
    const range = space.find(address)
    if (range === undefined) return false
    const { start, end, device } = range
    for (let done = 0; done < data.length;) {
      const at = address + done
      const left = Math.min(data.length - done, end - at)
      if (left <= 0) {
        // It runs out of the device.
        if (!isWrite) data.fill(0xff, done)
        return true
      }
      const width = widthAt(at, left)
      try {
        if (isWrite) device.write(at - start, width, numberAt(data, done, width), cpu)
        else putNumber(data, done, width, device.read(at - start, width, cpu))
      } catch (error) {
        if (!isWrite) data.fill(0xff, done, done + width)
        this.#report(device, error)
      }
      done += width
    }
    return true
  }

  #report(device: BusDevice, error: unknown): void {
    if (this.#failed.has(device)) return
    this.#failed.add(device)
    this.#onError(error)
  }
}

function numberAt(data: Uint8Array, at: number, width: Width): number {
  let value = 0
  for (let i = width - 1; i >= 0; i--) value = value * 256 + (data[at + i] ?? 0)
  return value
}

function putNumber(data: Uint8Array, at: number, width: Width, value: number): void {
  for (let i = 0; i < width; i++) data[at + i] = value >>> (8 * i)
}
