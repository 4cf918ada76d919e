// Region: one BAR or other region of a device. Decides what is mapped and refuses what cannot be right; the accesses
// themselves are the backend's.
import { EINVAL, EOPNOTSUPP, VfioError, attempt } from '../errors.js'
import { MAX_WINDOW } from '../memory/guest-memory.js'
import { pageSize } from '../memory/page.js'
import { PeerMemory } from '../memory/peer-memory.js'
import type { NativeHandle } from '../native/index.js'
import { boolean, bytes as bytesOf, integer, options as optionsOf } from '../validate.js'
import type { DeviceBackend, RegionCounters, RegionDoorbell, RegionRegisters } from './backend.js'
import { troubleError } from './condition.js'
import type { RegionArea, RegionCapability, RegionInfo } from '../uapi/vfio/device-info.js'
import { type DeviceIoeventfd, type IoeventfdOptions, RegionIoeventfds } from './ioeventfd.js'
import { planMmapAreas } from './mmap-plan.js'
import { type PollOptions, poll } from './poll.js'

export type { RegionCounters, RegionDoorbell } from './backend.js'
export type { PciRegionName } from './names.js'
export type { PollOptions } from './poll.js'

const LAST_BAR = 5

/** What a region needs to know about itself that its info does not say. Not part of the public surface. */
export interface RegionContext {
  /** For errors: `bar0 of 0000:00:10.0`. */
  label: string
  name: string
  backend: Pick<DeviceBackend, 'openRegion' | 'doorbells' | 'kernel'>
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
  readonly #context: RegionContext
  readonly #registers: RegionRegisters
  readonly #ioeventfds: RegionIoeventfds
  #doorbells: readonly RegionDoorbell[] | undefined
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
    const sparse = info.capabilities.find((capability) => capability.name === 'sparseMmap')
    this.mmapAreas = planMmapAreas({
      size: info.size,
      mmap: info.flags.mmap && context.guard,
      sparseAreas: sparse?.areas ?? null,
      msixTable: context.msixTable,
      msixMappable: info.capabilities.some((capability) => capability.name === 'msixMappable'),
      pageSize: pageSize(),
    })
    this.#registers = attempt({ subject: context.label }, () =>
      context.backend.openRegion(info, this.mmapAreas, context.memoryLike),
    )
    this.#ioeventfds = new RegionIoeventfds(info, context, () => {
      this.#refuseClosed()
    })
  }

  /** The native object, for what shows the region's pages elsewhere. @internal */
  get native(): NativeHandle {
    const { native } = this.#registers
    if (native !== undefined) return native
    throw this.#notMapped('Nothing of the region is mapped in this process; use read() and write().')
  }

  /** Reads one byte. @throws RangeError for an offset outside the region */
  read8(offset: number): number {
    return this.#registers.read8(offset)
  }
  /** Reads 16 bits at a multiple of 2. */
  read16(offset: number): number {
    return this.#registers.read16(offset)
  }
  /** Reads 32 bits at a multiple of 4. */
  read32(offset: number): number {
    return this.#registers.read32(offset)
  }
  /**
   * Reads 64 bits at a multiple of 8. Where the offset is not mapped the kernel may make it two accesses of 32 bits.
   * @param options `exact: true` refuses that instead
   */
  read64(offset: number, options?: { exact?: boolean }): bigint {
    if (options !== undefined) this.#refuseInexact(offset, options)
    return this.#registers.read64(offset)
  }
  /** Writes one byte, 0 to 255. @throws RangeError for an offset or value out of range */
  write8(offset: number, value: number): void {
    this.#registers.write8(offset, value)
  }
  /** Writes 16 bits at a multiple of 2. */
  write16(offset: number, value: number): void {
    this.#registers.write16(offset, value)
  }
  /** Writes 32 bits at a multiple of 4. */
  write32(offset: number, value: number): void {
    this.#registers.write32(offset, value)
  }
  /** Writes 64 bits at a multiple of 8; see `read64` for regions that are not mapped. */
  write64(offset: number, value: bigint, options?: { exact?: boolean }): void {
    if (options !== undefined) this.#refuseInexact(offset, options)
    this.#registers.write64(offset, value)
  }
  /** `read8` without ordering. */
  read8Relaxed(offset: number): number {
    return this.#registers.read8Relaxed(offset)
  }
  /** `read16` without ordering. */
  read16Relaxed(offset: number): number {
    return this.#registers.read16Relaxed(offset)
  }
  /** `read32` without ordering. */
  read32Relaxed(offset: number): number {
    return this.#registers.read32Relaxed(offset)
  }
  /** `read64` without ordering. */
  read64Relaxed(offset: number): bigint {
    return this.#registers.read64Relaxed(offset)
  }
  /** `write8` without ordering. */
  write8Relaxed(offset: number, value: number): void {
    this.#registers.write8Relaxed(offset, value)
  }
  /** `write16` without ordering. */
  write16Relaxed(offset: number, value: number): void {
    this.#registers.write16Relaxed(offset, value)
  }
  /** `write32` without ordering. */
  write32Relaxed(offset: number, value: number): void {
    this.#registers.write32Relaxed(offset, value)
  }
  /** `write64` without ordering. */
  write64Relaxed(offset: number, value: bigint): void {
    this.#registers.write64Relaxed(offset, value)
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
    return Number(poll(this.#registers, this.#context.label, this.size, offset, options, width))
  }

  /** `poll32` for a 64-bit register. */
  poll64(offset: number, options: PollOptions): bigint {
    return poll(this.#registers, this.#context.label, this.size, offset, options, 8)
  }

  /** Fills a buffer from the region, in the widest accesses that alignment allows. */
  read(offset: number, target: ArrayBufferView): void {
    const bytes = bytesOf(target, 'target')
    this.#checkSpan(offset, bytes.byteLength)
    this.#registers.read(offset, bytes)
  }

  /** Copies a buffer into the region, in the widest accesses that alignment allows. */
  write(offset: number, source: ArrayBufferView): void {
    const bytes = bytesOf(source, 'source')
    this.#checkSpan(offset, bytes.byteLength)
    this.#registers.write(offset, bytes)
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
    const leaves = 'The range leaves mmapAreas; use read() and write() there.'
    if (!this.isMapped(offset, length)) throw this.#notMapped(leaves)
    // A closed region must not lend memory.
    this.#refuseClosed()
    const buffer = this.#registers.window?.(offset, length)
    if (buffer === undefined) throw this.#notMapped(leaves)
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
    return this.#ioeventfds.open(offset, options)
  }

  /**
   * The writes that the device takes by eventfd too, as one behind a vfio-user socket may: a VMM gives them to its kernel, so that
   * a guest's write reaches the device without it (`wireDoorbell` and `PciPassthrough` do). Empty for a device of the kernel's. The
   * eventfds close with the device.
   */
  get doorbells(): readonly RegionDoorbell[] {
    this.#refuseClosed()
    return (this.#doorbells ??= attempt({ subject: this.#context.label }, () =>
      this.index > LAST_BAR ? [] : (this.#context.backend.doorbells?.(this.index) ?? []),
    ))
  }

  /** True once a mapped access found the device not answering; stays so until `remap()`. */
  get faulted(): boolean {
    return this.#registers.faulted
  }

  /**
   * Puts the device's memory back after a fault.
   * @throws VfioError EIO while the device still does not answer there: `memory-decoding-off`, `powered-down`, `device-lost`
   */
  remap(): void {
    this.#refuseClosed()
    if (!this.#context.decodes()) throw troubleError('mmap', this.#context.label, 'memory-decoding-off')
    attempt({ subject: this.#context.label }, () => {
      this.#registers.remap()
    })
  }

  get counters(): RegionCounters {
    return this.#registers.counters
  }

  /** The device closes: every accessor throws from here on. @internal */
  closeWithDevice(): void {
    if (this.#closed) return
    this.#closed = true
    this.#ioeventfds.close()
    for (const { eventfd } of this.#doorbells ?? []) eventfd.close()
    this.#registers.close()
  }

  /** Whatever is asked of a closed region is refused, this too. */
  #refuseClosed(): boolean {
    return this.#registers.faulted
  }

  #notMapped(remedy: string): VfioError {
    return new VfioError(EINVAL, 'mmap', { subject: this.#context.label, reason: 'not-mapped', remedy })
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
}
