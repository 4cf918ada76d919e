// Region: one BAR or other region of a device. Decides what is mapped and refuses what cannot be right; the accesses
// themselves are native.
import { EINVAL, EOPNOTSUPP, ETIMEDOUT, VfioError, attempt } from '../errors.js'
import { EventFd } from '../event/eventfd.js'
import { addon, type NativeHandle } from '../native/index.js'
import {
  bigint,
  boolean,
  bytes as bytesOf,
  instance,
  integer,
  object,
  options as optionsOf,
  MAX_U64,
} from '../validate.js'
import { Accessors } from './accessors.js'
import { troubleError } from './condition.js'
import type { RegionArea, RegionCapability, RegionInfo } from './info.js'
import { DeviceIoeventfd, type IoeventfdOptions } from './ioeventfd.js'
import { planMmapAreas } from './mmap-plan.js'
import { MAX_WINDOW } from '../memory/guest-memory.js'
import { PeerMemory } from '../memory/peer-memory.js'

export type { PciRegionName } from './names.js'

/** What a region needs to know about itself that the kernel's answer does not say. Not part of the public surface. */
export interface RegionContext {
  /** For errors: `bar0 of 0000:00:10.0`. */
  label: string
  name: string
  file: NativeHandle
  /** The MSI-X table, if it lies in this region. */
  msixTable: RegionArea | null
  /** A prefetchable BAR: reads have no side effects, so a plain view is legitimate. */
  memoryLike: boolean
  /** Map it and guard the mapping; otherwise every access goes through the device's file. */
  guard: boolean
  /** Whether the device decodes memory accesses now. Throws where something else keeps it from answering. */
  decodes(): boolean
  /** Kept as long as the region or one of its views lives. */
  owner: object
}

export interface PollOptions {
  /** The bits that count (default: all). */
  mask?: number | bigint
  /** What they must be. */
  equals: number | bigint
  /** Microseconds to spin at most, 0 to 3.6e9 (default 1000). */
  timeoutMicros?: number
  /** Bytes of the register: 1, 2 or 4 (the default); `poll64` is for 8. */
  width?: 1 | 2 | 4
}

/** Figures since the region was opened. Scalar accesses through a mapping are not counted: they are single loads. */
export interface RegionCounters {
  /** Accesses that went through the device's file. */
  fileAccesses: number
  /** Bytes moved by read() and write(). */
  bulkBytes: number
}

/** Keeps what an ArrayBuffer shows. */
const viewOwners = new WeakMap<ArrayBuffer, object>()

/**
 * A region of a device. Offsets count bytes from its start. Scalar accesses are volatile, of exactly the width in their
 * name, naturally aligned and checked against the region's end; one call is one access at the device where the region is
 * mapped there. `write*` orders earlier stores before it, `read*` orders later loads after it; the relaxed forms do
 * neither, for streams.
 *
 * A mapped region that stops answering (memory decoding off, D3, unplugged) reads as all ones and ignores writes until
 * `remap()`, as a bus does.
 */
export class Region extends PeerMemory {
  /** `bar0` to `bar5`, `rom`, `config`, `vga`, or `region9` and up for device-specific ones. */
  readonly name: string
  readonly index: number
  /** Bytes. */
  readonly size: number
  readonly flags: RegionInfo['flags']
  readonly capabilities: readonly RegionCapability[]
  /** Whether reads have no side effects: a prefetchable BAR. */
  readonly memoryLike: boolean
  /** What is mapped, planned from the sparse areas, the MSI-X table and the page size. */
  readonly mmapAreas: readonly RegionArea[]
  readonly #native: NativeHandle
  readonly #context: RegionContext
  readonly #info: RegionInfo
  readonly #access: Accessors
  readonly #ioeventfds = new Set<DeviceIoeventfd>()
  #closed = false

  /** @internal */
  constructor(info: RegionInfo, context: RegionContext) {
    super()
    this.name = context.name
    this.index = info.index
    this.size = info.size
    this.flags = info.flags
    this.capabilities = info.capabilities
    this.memoryLike = context.memoryLike
    this.#context = context
    this.#info = info
    const sparse = info.capabilities.find((capability) => capability.name === 'sparseMmap')
    this.mmapAreas = planMmapAreas({
      size: info.size,
      mmap: info.flags.mmap && context.guard,
      sparseAreas: sparse?.areas ?? null,
      msixTable: context.msixTable,
      msixMappable: info.capabilities.some((capability) => capability.name === 'msixMappable'),
      pageSize: addon().pageSize(),
    })
    const { read, write } = info.flags
    const areas = this.mmapAreas.flatMap(({ offset, size }) => [offset, size])
    this.#native = attempt({ subject: context.label }, () =>
      addon().regionOpen(context.file, info.fileOffset, info.size, read, write, areas),
    )
    this.#access = new Accessors(this.#native)
  }

  /** The native object, for what shows the region's pages elsewhere. @internal */
  get native(): NativeHandle {
    return this.#native
  }

  /** Reads one byte. @throws RangeError for an offset outside the region */
  read8(offset: number): number {
    return this.#access.read8(offset)
  }
  /** Reads 16 bits at a multiple of 2. */
  read16(offset: number): number {
    return this.#access.read16(offset)
  }
  /** Reads 32 bits at a multiple of 4. */
  read32(offset: number): number {
    return this.#access.read32(offset)
  }
  /**
   * Reads 64 bits at a multiple of 8. Where the offset is not mapped the kernel may make it two accesses of 32 bits.
   * @param options `exact: true` refuses that instead
   */
  read64(offset: number, options?: { exact?: boolean }): bigint {
    if (options !== undefined) this.#refuseInexact(offset, options)
    return this.#access.read64(offset)
  }
  /** Writes one byte, 0 to 255. @throws RangeError for an offset or value out of range */
  write8(offset: number, value: number): void {
    this.#access.write8(offset, value)
  }
  /** Writes 16 bits at a multiple of 2. */
  write16(offset: number, value: number): void {
    this.#access.write16(offset, value)
  }
  /** Writes 32 bits at a multiple of 4. */
  write32(offset: number, value: number): void {
    this.#access.write32(offset, value)
  }
  /** Writes 64 bits at a multiple of 8; see `read64` for regions that are not mapped. */
  write64(offset: number, value: bigint, options?: { exact?: boolean }): void {
    if (options !== undefined) this.#refuseInexact(offset, options)
    this.#access.write64(offset, value)
  }
  /** `read8` without ordering. */
  read8Relaxed(offset: number): number {
    return this.#access.read8Relaxed(offset)
  }
  /** `read16` without ordering. */
  read16Relaxed(offset: number): number {
    return this.#access.read16Relaxed(offset)
  }
  /** `read32` without ordering. */
  read32Relaxed(offset: number): number {
    return this.#access.read32Relaxed(offset)
  }
  /** `read64` without ordering. */
  read64Relaxed(offset: number): bigint {
    return this.#access.read64Relaxed(offset)
  }
  /** `write8` without ordering. */
  write8Relaxed(offset: number, value: number): void {
    this.#access.write8Relaxed(offset, value)
  }
  /** `write16` without ordering. */
  write16Relaxed(offset: number, value: number): void {
    this.#access.write16Relaxed(offset, value)
  }
  /** `write32` without ordering. */
  write32Relaxed(offset: number, value: number): void {
    this.#access.write32Relaxed(offset, value)
  }
  /** `write64` without ordering. */
  write64Relaxed(offset: number, value: bigint): void {
    this.#access.write64Relaxed(offset, value)
  }

  /** Whether an access goes through a mapping, so that it is one access of its width at the device. */
  isMapped(offset: number, width: number): boolean {
    integer(offset, 'offset', 0, Math.max(0, this.size - 1))
    integer(width, 'width', 1, this.size - offset)
    return this.mmapAreas.some((area) => offset >= area.offset && offset + width <= area.offset + area.size)
  }

  /**
   * Spins until `(value & mask) === equals` and returns the value. Blocks the thread; meant for microseconds.
   * @throws VfioError ETIMEDOUT
   */
  poll32(offset: number, options: PollOptions): number {
    const { width = 4 } = optionsOf(options, 'options')
    if (![1, 2, 4].includes(width)) throw new RangeError(`width must be 1, 2 or 4, not ${String(width)}`)
    return Number(this.#poll(offset, options, width))
  }

  /** `poll32` for a 64-bit register. */
  poll64(offset: number, options: PollOptions): bigint {
    return this.#poll(offset, options, 8)
  }

  /** Fills a buffer from the region, in the widest accesses that alignment allows. */
  read(offset: number, target: ArrayBufferView): void {
    const bytes = bytesOf(target, 'target')
    this.#checkSpan(offset, bytes.byteLength)
    addon().registersRead(this.#native, offset, bytes)
  }

  /** Copies a buffer into the region, in the widest accesses that alignment allows. */
  write(offset: number, source: ArrayBufferView): void {
    const bytes = bytesOf(source, 'source')
    this.#checkSpan(offset, bytes.byteLength)
    addon().registersWrite(this.#native, offset, bytes)
  }

  /**
   * Part of a memory-like region as an ArrayBuffer. A view promises nothing about width, order or number of accesses, nor
   * can it tell what a device that stopped answering reads as; so it is refused for register BARs.
   * @throws VfioError EOPNOTSUPP (`not-memory-like`), EINVAL (`not-mapped`)
   */
  view(offset: number, length: number): ArrayBuffer {
    this.#checkSpan(offset, length)
    integer(length, 'length', 1, MAX_WINDOW)
    if (!this.#context.memoryLike) {
      throw new VfioError(EOPNOTSUPP, 'mmap', {
        subject: this.#context.label,
        reason: 'not-memory-like',
        remedy: 'Only prefetchable BARs behave like memory; use read32, write32 and their kin on registers.',
      })
    }
    if (!this.isMapped(offset, length)) {
      throw new VfioError(EINVAL, 'mmap', {
        subject: this.#context.label,
        reason: 'not-mapped',
        remedy: 'The range leaves mmapAreas; use read() and write() there.',
      })
    }
    // The owner's check comes first: a closed region must not lend memory.
    addon().registersFaulted(this.#native)
    const { read, write } = this.flags
    const buffer = addon().regionWindow(
      this.#context.file,
      this.#info.fileOffset + offset,
      length,
      read,
      write,
    )
    viewOwners.set(buffer, this.#context.owner)
    return buffer
  }

  /**
   * Lets the kernel write a register when an eventfd is signalled (VFIO_DEVICE_IOEVENTFD, Linux 4.17): with a KVM ioeventfd
   * in front, a guest's doorbell reaches the device without user space. The data is fixed, and one write is made however
   * high the count is, so that a doorbell whose value matters (a tail pointer) cannot be wired. While memory decoding is
   * off the write is dropped. At most 1000 per device. BARs only, outside the MSI-X table.
   * @param offset of the register, a multiple of its width
   * @throws VfioError EEXIST for a second one of the same offset, width and data; EBUSY (`eventfd-in-use`) when something
   *   else reads the eventfd; ENOSPC past the limit
   */
  ioeventfd(offset: number, options: IoeventfdOptions): DeviceIoeventfd {
    const { width, data, eventfd } = object(options, 'options')
    if (![1, 2, 4, 8].includes(width))
      throw new RangeError(`width must be 1, 2, 4 or 8, not ${String(width)}`)
    if (eventfd !== undefined) instance(eventfd, EventFd, 'eventfd')
    if (this.index > LAST_BAR)
      throw new RangeError(`an ioeventfd writes to bar0 to bar5, not to ${this.name}`)
    integer(offset, 'offset', 0, Math.max(0, this.size - width))
    // The kernel would take one that is not, and split the access.
    if (offset % width !== 0) throw new RangeError(`offset must be a multiple of ${String(width)}`)
    const value = wide(data, 'data', (1n << BigInt(8 * width)) - 1n)
    const table = this.#context.msixTable
    if (table !== null && offset < table.offset + table.size && offset + width > table.offset)
      throw new RangeError(`offset must lie outside the MSI-X table, at ${String(table.offset)}`)
    const signal = eventfd ?? new EventFd()
    try {
      return this.#openIoeventfd(offset, width, value, signal, eventfd === undefined)
    } catch (error) {
      if (eventfd === undefined) signal.close()
      throw error
    }
  }

  /** True once a mapped access found the device not answering; stays so until `remap()`. */
  get faulted(): boolean {
    return addon().registersFaulted(this.#native)
  }

  /**
   * Puts the device's memory back after a fault.
   * @throws VfioError EIO while the device still does not answer there: `memory-decoding-off`, `powered-down`, `device-lost`
   */
  remap(): void {
    addon().registersFaulted(this.#native)
    if (!this.#context.decodes()) throw troubleError('mmap', this.#context.label, 'memory-decoding-off')
    attempt({ subject: this.#context.label }, () => {
      addon().registersRemap(this.#native)
    })
  }

  get counters(): RegionCounters {
    return addon().registersCounters(this.#native)
  }

  /** The device closes: every accessor throws from here on. @internal */
  closeWithDevice(): void {
    if (this.#closed) return
    this.#closed = true
    for (const each of this.#ioeventfds) each.close()
    addon().registersClose(this.#native)
  }

  #openIoeventfd(
    offset: number,
    width: number,
    data: bigint,
    eventfd: EventFd,
    own: boolean,
  ): DeviceIoeventfd {
    addon().registersFaulted(this.#native)
    const subject = `${this.#context.label} at 0x${offset.toString(16)}`
    const native = attempt({ subject }, () =>
      addon().deviceIoeventfd(
        this.#context.file,
        this.#info.fileOffset + offset,
        width,
        data,
        eventfd.native,
      ),
    )
    const made = new DeviceIoeventfd(native, `ioeventfd of ${subject}`, eventfd, () => {
      forget()
      this.#ioeventfds.delete(made)
      if (toClose) eventfd.close()
    })
    let toClose = own
    const forget = eventfd.beforeClose(() => {
      toClose = false
      made.close()
    })
    this.#ioeventfds.add(made)
    return made
  }

  #refuseInexact(offset: number, options: { exact?: boolean }): void {
    const { exact = false } = optionsOf(options, 'options')
    if (!boolean(exact, 'exact')) return
    if (this.isMapped(offset, 8)) return
    throw new VfioError(EOPNOTSUPP, 'pread', {
      subject: `${this.#context.label} at ${String(offset)}`,
      reason: 'not-mapped',
      remedy:
        'The kernel may split 64 bits in two here; use two 32-bit accesses in the order the device wants.',
    })
  }

  #checkSpan(offset: number, length: number): void {
    integer(offset, 'offset', 0, this.size)
    if (typeof length !== 'number') integer(length, 'length', 0, this.size - offset)
    if (!(length <= this.size - offset)) {
      throw new RangeError(
        `offset + length must be at most ${String(this.size)}, the size of ${this.name}; got ${String(offset)} + ${String(length)}`,
      )
    }
  }

  #poll(offset: number, options: PollOptions, width: number): bigint {
    const most = (1n << BigInt(width * 8)) - 1n
    if (typeof options !== 'object' || (options as unknown) === null)
      throw new TypeError('options must be an object')
    const { mask = most, equals, timeoutMicros = 1000 } = options
    integer(offset, 'offset', 0, Math.max(0, this.size - width))
    if (offset % width !== 0) throw new RangeError(`offset must be a multiple of ${String(width)}`)
    const value = addon().registersPoll(
      this.#native,
      offset,
      width,
      wide(mask, 'mask', most),
      wide(equals, 'equals', most),
      integer(timeoutMicros, 'timeoutMicros', 0, 3_600_000_000),
    )
    if (value !== null) return value
    throw new VfioError(ETIMEDOUT, 'poll', {
      subject: `${this.#context.label} at 0x${offset.toString(16)}`,
      reason: 'timeout',
      remedy: `The register did not take the value within ${String(timeoutMicros)} microseconds.`,
    })
  }
}

function wide(value: unknown, name: string, most: bigint): bigint {
  if (typeof value === 'number')
    return BigInt(integer(value, name, 0, Number(most > MAX_U64 ? MAX_U64 : most)))
  return bigint(value, name, 0n, most)
}

const LAST_BAR = 5
