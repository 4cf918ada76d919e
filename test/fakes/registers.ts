// Registers that are an array: a region without a device's file, an addon or a mapping. What was asked to be mapped is treated
// so: it is not counted, and it faults when the device does not answer.
import type { RegionCounters, RegionRegisters } from '../../ts/device/backend.js'
import type { RegionArea, RegionInfo } from '../../ts/device/info.js'
import { EACCES, EBADF, EINVAL, VfioError } from '../../ts/errors.js'
import { MAX_U64, bigint, integer } from '../../ts/validate.js'

/** The device's side of a region. */
export interface Store {
  readonly bytes: Uint8Array<ArrayBuffer>
  /** False while the device does not answer: reads then come to all ones, and writes are lost. */
  answers: boolean
}

export class ArrayRegisters implements RegionRegisters {
  readonly counters: RegionCounters = { fileAccesses: 0, bulkBytes: 0 }
  readonly #store: Store
  readonly #view: DataView
  readonly #flags: RegionInfo['flags']
  readonly #areas: readonly RegionArea[]
  #closed = false
  #faulted = false

  constructor(store: Store, { flags }: RegionInfo, areas: readonly RegionArea[]) {
    this.#store = store
    this.#view = new DataView(store.bytes.buffer)
    this.#flags = flags
    this.#areas = areas
  }

  get faulted(): boolean {
    this.#refuseClosed()
    return this.#faulted
  }

  remap(): void {
    this.#refuseClosed()
    this.#faulted = false
  }

  close(): void {
    this.#closed = true
  }

  /** An array has no part that is an ArrayBuffer of its own: all of it, or nothing. */
  window(offset: number, length: number): ArrayBuffer {
    this.#refuseClosed()
    if (offset !== 0 || length !== this.#store.bytes.length) throw new VfioError(EINVAL, 'mmap')
    return this.#store.bytes.buffer
  }

  poll(offset: number, width: number, mask: bigint, equals: bigint, timeoutMicros: number): bigint | null {
    const end = performance.now() + timeoutMicros / 1000
    do {
      const value = this.#read(offset, width)
      if ((value & mask) === equals) return value
    } while (performance.now() < end)
    return null
  }

  read(offset: number, bytes: Uint8Array): void {
    this.#bulk(offset, bytes.length, 'read', (at, i, width) => {
      const value = this.#read(at, width)
      for (let byte = 0; byte < width; byte++) bytes[i + byte] = Number((value >> BigInt(8 * byte)) & 0xffn)
    })
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#bulk(offset, bytes.length, 'write', (at, i, width) => {
      let value = 0n
      for (let byte = 0; byte < width; byte++) value |= BigInt(bytes[i + byte] ?? 0) << BigInt(8 * byte)
      this.#write(at, width, value)
    })
  }

  read8 = (offset: number): number => Number(this.#read(offset, 1))
  read16 = (offset: number): number => Number(this.#read(offset, 2))
  read32 = (offset: number): number => Number(this.#read(offset, 4))
  read64 = (offset: number): bigint => this.#read(offset, 8)
  write8 = (offset: number, value: number): void => {
    this.#write(offset, 1, BigInt(integer(value, 'value', 0, 0xff)))
  }
  write16 = (offset: number, value: number): void => {
    this.#write(offset, 2, BigInt(integer(value, 'value', 0, 0xffff)))
  }
  write32 = (offset: number, value: number): void => {
    this.#write(offset, 4, BigInt(integer(value, 'value', 0, 0xffff_ffff)))
  }
  write64 = (offset: number, value: bigint): void => {
    this.#write(offset, 8, bigint(value, 'value', 0n, MAX_U64))
  }
  // An array knows no order between accesses.
  read8Relaxed = this.read8
  read16Relaxed = this.read16
  read32Relaxed = this.read32
  read64Relaxed = this.read64
  write8Relaxed = this.write8
  write16Relaxed = this.write16
  write32Relaxed = this.write32
  write64Relaxed = this.write64

  #read(offset: number, width: number): bigint {
    if (!this.#reaches(offset, width, 'read')) return (1n << BigInt(8 * width)) - 1n
    let value = 0n
    for (let byte = width; byte-- > 0;) value = (value << 8n) | BigInt(this.#view.getUint8(offset + byte))
    return value
  }

  #write(offset: number, width: number, value: bigint): void {
    if (!this.#reaches(offset, width, 'write')) return
    for (let byte = 0; byte < width; byte++)
      this.#view.setUint8(offset + byte, Number((value >> BigInt(8 * byte)) & 0xffn))
  }

  /** Checks an access, counts it, and says whether the device answers it. */
  #reaches(offset: number, width: number, direction: 'read' | 'write'): boolean {
    this.#refuseClosed()
    if (!this.#flags[direction]) throw new VfioError(EACCES, direction)
    integer(offset, 'offset', 0, this.#store.bytes.length - width)
    if (offset % width !== 0) throw new RangeError(`offset must be a multiple of ${String(width)}`)
    const mapped = this.#areas.some(
      (area) => offset >= area.offset && offset + width <= area.offset + area.size,
    )
    if (!mapped) this.counters.fileAccesses++
    else if (!this.#store.answers) this.#faulted = true
    return this.#store.answers && !(mapped && this.#faulted)
  }

  #bulk(
    offset: number,
    length: number,
    direction: 'read' | 'write',
    move: (at: number, i: number, width: number) => void,
  ): void {
    this.#refuseClosed()
    if (!this.#flags[direction]) throw new VfioError(EACCES, direction)
    integer(length, 'length', 0, this.#store.bytes.length - offset)
    for (let i = 0; i < length;) {
      const at = offset + i
      const width = [8, 4, 2, 1].find((each) => at % each === 0 && i + each <= length) ?? 1
      move(at, i, width)
      i += width
    }
    this.counters.bulkBytes += length
  }

  #refuseClosed(): void {
    if (this.#closed) throw new VfioError(EBADF, 'closed')
  }
}
