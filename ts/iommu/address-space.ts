// AddressSpace: what devices see as memory, through a VFIO container with a type1 IOMMU. Decides where mappings go; the
// list of what is mapped is native, because Workers share it.
import { readFileSync } from 'node:fs'

import {
  EBADF,
  EEXIST,
  ENOSPC,
  EOPNOTSUPP,
  VfioError,
  type VfioErrorContext,
  attempt,
  attemptAsync,
} from '../errors.js'
import { Handle, type ShareToken, claimNative, readToken } from '../handle.js'
import { addon, type NativeHandle } from '../native.js'
import { MAX_U64, bigint, boolean, integer, oneOf, options as optionsOf } from '../validate.js'
import { DmaBuffer } from './dma-buffer.js'
import { type DirtyTracking, Type1DirtyTracking } from './dirty-tracking.js'
import { GuestMemory, type MemoryOptions, originOf } from './guest-memory.js'
import { type IovaRange, type Type1Info, decodeType1Info } from './type1-info.js'

export type IommuType = 'type1v2' | 'type1'

/** Who answers the container's calls. */
export type ContainerKind = 'vfio' | 'iommufd'

const CONTAINER_NODE: Record<ContainerKind, string> = { vfio: 'vfio/vfio', iommufd: 'iommu' }

const EXTENSION: Record<IommuType, number> = { type1: 1, type1v2: 3 }
const MAP_READ = 1
const MAP_WRITE = 2
const UNMAP_ALL = 2
const EXTENSION_UNMAP_ALL = 9

/** What may be mapped: memory of this package, or a page-aligned view of it. */
export type Mappable = GuestMemory | DmaBuffer | ArrayBufferLike | ArrayBufferView

export interface MapAccess {
  /** The device may read it (default true). */
  read?: boolean
  /** The device may write it (default true). */
  write?: boolean
}

export interface PlaceOptions extends MapAccess {
  /** Where the device shall see it; a multiple of the page size. Picked inside the valid ranges when absent. */
  iova?: bigint
  /** For devices with narrow DMA masks: every byte lies below this address. */
  below?: bigint
}

export interface MapOptions extends PlaceOptions {
  /** Bytes into the memory, a multiple of the page size (default 0). */
  offset?: number
  /** Bytes, a multiple of the page size (default: the rest of the memory). */
  size?: number
}

export interface AllocateOptions extends PlaceOptions, MemoryOptions {}

export interface AddressSpaceOptions {
  /** The IOMMU driver (default: type1v2 where the kernel has it, else type1). */
  iommu?: 'auto' | IommuType
  /**
   * What stands behind the container: VFIO's own (default), or iommufd's compatibility mode (Linux 6.2), which speaks the
   * same protocol on `/dev/iommu`. There type1 cuts mappings in two, and neither type has dirty tracking.
   */
  container?: ContainerKind
  /** Where device nodes are (default `/dev`). */
  devRoot?: string
}

/** What a device of the space lets the space do. Not part of the public surface. */
export interface SpaceMember {
  /** Clears bus master; true when it was set. */
  stopDma(): boolean
  resumeDma(): void
}

interface Piece {
  memory: GuestMemory
  offset: number
  size: number
}

interface Placement {
  geometry: Type1Info
  flags: number
  iova: bigint | undefined
  below: bigint
}

const BEYOND_U64 = MAX_U64 + 1n

let page: number | undefined

function pageSize(): number {
  return (page ??= addon().pageSize())
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`
}

/** Before Linux 5.4 the kernel names none. */
function rangesOf({ iovaRanges }: Type1Info): IovaRange[] {
  return iovaRanges.length > 0 ? iovaRanges : [{ start: 0n, last: MAX_U64 }]
}

/** RLIMIT_MEMLOCK and what is locked, in words, for the error that they cause. */
function memlockContext(size: number): VfioErrorContext {
  let limit = 'RLIMIT_MEMLOCK'
  try {
    const soft = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    const locked = /^VmLck:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    const pinned = /^VmPin:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    limit = `RLIMIT_MEMLOCK (${soft ?? '?'} bytes; ${locked ?? '?'} KiB locked, ${pinned ?? '?'} KiB pinned)`
  } catch {
    // Without /proc the figures are missing, the advice stands.
  }
  return {
    reason: 'memlock-limit',
    remedy: `Mapped memory is pinned and counts against ${limit}; ${String(size)} bytes more do not fit: raise it (ulimit -l, LimitMEMLOCK=) or map less.`,
  }
}

/**
 * An IOMMU address space: what devices see as memory, and which of it they may touch. One is made for a device that is
 * opened without one; pass one to `VfioDevice.open` for several devices that share buffers. It becomes usable when its
 * first device is opened.
 */
export class AddressSpace extends Handle {
  readonly #members = new Set<SpaceMember>()
  readonly #buffers = new Set<WeakRef<DmaBuffer>>()
  readonly #refs = new WeakMap<DmaBuffer, WeakRef<DmaBuffer>>()
  readonly #wanted: 'auto' | IommuType
  // What the caller of fromFd said of a container that another program set up.
  readonly #told: IommuType | undefined
  #automatic = false
  #known: { changes: number; info: Type1Info } | undefined
  #pruneAt = 64

  private constructor(native: NativeHandle, wanted: 'auto' | IommuType, told?: IommuType) {
    super(native, 'AddressSpace')
    this.#wanted = wanted
    this.#told = told
  }

  /**
   * Opens an empty space (`/dev/vfio/vfio` or `/dev/iommu`).
   * @throws VfioError `no-vfio-module`, `no-iommufd`, `permission`
   */
  static open(options?: AddressSpaceOptions): AddressSpace {
    const { iommu = 'auto', container = 'vfio', devRoot = '/dev' } = optionsOf(options, 'options')
    oneOf(iommu, 'iommu', ['auto', 'type1v2', 'type1'])
    oneOf(container, 'container', ['vfio', 'iommufd'])
    const path = `${devRoot}/${CONTAINER_NODE[container]}`
    return new AddressSpace(
      attempt(
        (error) => containerContext(path, container, error),
        () => addon().containerOpen(path),
      ),
      iommu,
    )
  }

  /** Takes ownership of a container's descriptor. `type` says what IOMMU driver was set on it, if one was. */
  static fromFd(fd: number, options?: { type?: IommuType }): AddressSpace {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    const { type } = optionsOf(options, 'options')
    if (type !== undefined) oneOf(type, 'type', ['type1v2', 'type1'])
    return new AddressSpace(addon().containerFromFd(fd), type ?? 'auto', type)
  }

  /** The space behind a token, in this environment. */
  static claim(token: ShareToken): AddressSpace {
    const { id, told } = readToken(token, 'AddressSpace')
    const native = claimNative(id, 'AddressSpace')
    return new AddressSpace(native, 'auto', told === 'type1' || told === 'type1v2' ? told : undefined)
  }

  /** A space over a container that a group of this process is in already. @internal */
  static over(native: NativeHandle): AddressSpace {
    return new AddressSpace(native, 'auto')
  }

  /** A token for `AddressSpace.claim` in another Worker of this process. */
  share(): ShareToken<'AddressSpace'> {
    return { vfio: 'AddressSpace', id: addon().handleShare(this.native), told: this.#told }
  }

  /** The container's descriptor number. It stays this object's. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** The IOMMU driver in use; undefined until a device is opened in the space. */
  get type(): IommuType | undefined {
    const set = addon().containerIommu(this.native)
    return set === EXTENSION.type1v2 ? 'type1v2' : set === EXTENSION.type1 ? 'type1' : this.#told
  }

  /** The usable IOVAs, ascending, without what the IOMMU reserves. One range of everything before Linux 5.4. */
  get iovaRanges(): IovaRange[] {
    return rangesOf(this.#info())
  }

  /** The page sizes of mappings in bytes, ascending. The first is the granule of every IOVA and size. */
  get pageSizes(): bigint[] {
    return this.#info().pageSizes
  }

  /** How many mappings can still be made; null when the kernel does not say (before Linux 5.10). */
  get mappingsAvailable(): number | null {
    return this.#info().mappingsAvailable
  }

  /** How many mappings this process made here. */
  get mappingCount(): number {
    return addon().containerMappingCount(this.native)
  }

  /** Which pages devices wrote to (VFIO_IOMMU_DIRTY_PAGES, type1v2 only, Linux 5.8). */
  get dirtyTracking(): DirtyTracking {
    return new Type1DirtyTracking(() => this.native)
  }

  /**
   * Memory and its mapping in one.
   * @param size bytes, 1 to 2^46; rounded up to whole pages
   * @throws VfioError ENOMEM (`memlock-limit`), ENOSPC (`mapping-limit`, `no-iova`), EEXIST (the given iova is taken)
   */
  async allocate(size: number, options?: AllocateOptions): Promise<DmaBuffer> {
    const place = this.#placement(options)
    const memory = GuestMemory.create(size, options)
    try {
      const piece = { memory, offset: 0, size: memory.size }
      // One call in flight until the mapping has its owner: a close in between must find it.
      return await this.running(async () => this.#own(memory, await this.#placeAsync(piece, place)))
    } catch (error) {
      memory.close()
      throw error
    }
  }

  /** `allocate`, blocking. */
  allocateSync(size: number, options?: AllocateOptions): DmaBuffer {
    const place = this.#placement(options)
    const memory = GuestMemory.create(size, options)
    try {
      const iova = this.#placeSync({ memory, offset: 0, size: memory.size }, place)
      return this.#own(memory, iova)
    } catch (error) {
      memory.close()
      throw error
    }
  }

  /**
   * Lets devices reach memory at an address of theirs (VFIO_IOMMU_MAP_DMA). The memory is pinned until `unmap`.
   * @param memory GuestMemory, a DmaBuffer, or a page-aligned view of either's ArrayBuffer
   * @returns the IOVA
   * @throws RangeError for other memory: an ordinary ArrayBuffer is not page-aligned; use `allocate`
   */
  async map(memory: Mappable, options?: MapOptions): Promise<bigint> {
    const piece = this.#piece(memory, options)
    return this.#placeAsync(piece, this.#placement(options))
  }

  /** `map`, blocking. */
  mapSync(memory: Mappable, options?: MapOptions): bigint {
    const piece = this.#piece(memory, options)
    return this.#placeSync(piece, this.#placement(options))
  }

  /**
   * Takes mappings back (VFIO_IOMMU_UNMAP_DMA): every one that lies in the range.
   * @returns the bytes unmapped. On type1 (v1) that may be 0 (the middle of a mapping) or more than asked.
   */
  async unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    const bytes = this.#range(iova, size)
    return this.running(() =>
      attemptAsync(
        () => ({ subject: span(iova, bytes) }),
        () => addon().containerUnmapDma(this.native, iova, bytes, 0),
      ),
    )
  }

  /** `unmap`, blocking. */
  unmapSync(iova: bigint, size: number | bigint): bigint {
    const bytes = this.#range(iova, size)
    return attempt(
      () => ({ subject: span(iova, bytes) }),
      () => addon().containerUnmapDmaSync(this.native, iova, bytes, 0),
    )
  }

  /** Takes every mapping back, those of DmaBuffers too. Returns the bytes unmapped. */
  unmapAll(): bigint {
    if (addon().containerCheckExtension(this.native, EXTENSION_UNMAP_ALL) > 0) {
      return addon().containerUnmapDmaSync(this.native, 0n, 0n, UNMAP_ALL)
    }
    let total = 0n
    for (const { start, last } of this.iovaRanges) {
      const size = last - start + 1n
      total += addon().containerUnmapDmaSync(this.native, start, size > MAX_U64 ? MAX_U64 : size, 0)
    }
    return total
  }

  /**
   * Closes the DmaBuffers made here, then the space. Devices in it lose their memory: close them first. Idempotent.
   */
  async close(): Promise<void> {
    await this.closeLater()
  }

  [Symbol.dispose](): void {
    this.closeNow()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  protected override beforeRelease(): void {
    for (const member of this.#members) member.stopDma()
    for (const ref of this.#buffers) ref.deref()?.[Symbol.dispose]()
    this.#buffers.clear()
  }

  // -- for devices --

  /** Puts a group in and sets the IOMMU driver if it is the first. @internal */
  attachGroup(group: NativeHandle): void {
    addon().groupSetContainer(group, this.native)
    if (this.type !== undefined) return
    try {
      this.#setIommu()
    } catch (error) {
      addon().groupUnsetContainer(group)
      throw error
    }
  }

  /** @internal */
  join(member: SpaceMember): void {
    this.#members.add(member)
  }

  /** A space that was made for its devices closes with the last of them. @internal */
  closeWithMembers(): this {
    this.#automatic = true
    return this
  }

  /** True for a space that was made for devices and has none. @internal */
  get unused(): boolean {
    return this.#automatic && this.#members.size === 0 && !this.closed
  }

  /** True when the space is to be closed now. @internal */
  leave(member: SpaceMember): boolean {
    this.#members.delete(member)
    return this.unused
  }

  /** @internal */
  quiesce(): () => void {
    const stopped = [...this.#members].filter((member) => member.stopDma())
    return () => {
      for (const member of stopped) member.resumeDma()
    }
  }

  /** @internal */
  forget(buffer: DmaBuffer): void {
    const ref = this.#refs.get(buffer)
    if (ref !== undefined) this.#buffers.delete(ref)
  }

  #setIommu(): void {
    const wanted: IommuType[] = this.#wanted === 'auto' ? ['type1v2', 'type1'] : [this.#wanted]
    for (const type of wanted) {
      if (addon().containerCheckExtension(this.native, EXTENSION[type]) <= 0) continue
      attempt(iommuContext, () => {
        addon().containerSetIommu(this.native, EXTENSION[type])
      })
      return
    }
    throw new VfioError(EOPNOTSUPP, 'VFIO_SET_IOMMU', {
      subject: wanted.join(' or '),
      reason: 'no-iommu-type',
      remedy: 'Load the module vfio_iommu_type1.',
    })
  }

  #info(): Type1Info {
    return decodeType1Info(attempt(unattached, () => addon().containerGetInfo(this.native)))
  }

  /** What lasts as long as the groups in the space do: asking and decoding take as long as mapping a megabyte. */
  #geometry(): Type1Info {
    const changes = addon().containerChanges(this.native)
    // Another program set the space up and may go on doing so.
    if (changes === 0) return this.#info()
    if (this.#known?.changes !== changes) this.#known = { changes, info: this.#info() }
    return this.#known.info
  }

  #placement(options: PlaceOptions | undefined): Placement {
    const { read = true, write = true, iova, below } = optionsOf(options, 'options')
    boolean(read, 'read')
    boolean(write, 'write')
    if (!read && !write) throw new RangeError('read and write must not both be false')
    const geometry = this.#geometry()
    if (iova !== undefined) {
      bigint(iova, 'iova', 0n, MAX_U64)
      const granule = granuleOf(geometry)
      if (iova % granule !== 0n)
        throw new RangeError(`iova must be a multiple of ${String(granule)}, not ${hex(iova)}`)
    }
    if (below !== undefined) bigint(below, 'below', 1n, BEYOND_U64)
    const flags = (read ? MAP_READ : 0) | (write ? MAP_WRITE : 0)
    return { geometry, flags, iova, below: below ?? BEYOND_U64 }
  }

  #piece(memory: Mappable, options: MapOptions | undefined): Piece {
    const whole = pieceOf(memory)
    const page = pageSize()
    const given = optionsOf(options, 'options')
    const offset = integer(given.offset ?? 0, 'offset', 0, whole.size - 1)
    const { size = whole.size - offset } = given
    integer(size, 'size', 1, whole.size - offset)
    const start = whole.offset + offset
    if (start % page !== 0 || size % page !== 0) {
      throw new RangeError(
        `memory must start and end on a page (${String(page)} bytes); offset ${String(start)}, size ${String(size)} do not: use allocate() for memory that fits`,
      )
    }
    return { memory: whole.memory, offset: start, size }
  }

  #range(iova: bigint, size: number | bigint): bigint {
    bigint(iova, 'iova', 0n, MAX_U64)
    if (typeof size === 'number') integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
    const bytes = bigint(typeof size === 'number' ? BigInt(size) : size, 'size', 1n, MAX_U64)
    const granule = granuleOf(this.#geometry())
    if (iova % granule !== 0n || bytes % granule !== 0n) {
      throw new RangeError(`iova and size must be multiples of ${String(granule)}`)
    }
    return bytes
  }

  /** Where a piece may go, in the order to try; each try starts behind the one before. */
  *#candidates(piece: Piece, { geometry, iova, below }: Placement): Generator<bigint> {
    const size = BigInt(piece.size)
    if (iova !== undefined) {
      if (iova + size > below) throw new RangeError(`iova + size must not exceed below (${hex(below)})`)
      checkRange(geometry, iova, size)
      yield iova
      return
    }
    // Aligned as the memory's pages are, so that the IOMMU can use large ones.
    const granule = granuleOf(geometry)
    const alignment = BigInt(piece.memory.pageSize) > granule ? BigInt(piece.memory.pageSize) : granule
    for (const range of rangesOf(geometry)) {
      // Address 0 is where a device ends up that was told nothing: leave it unmapped, so that its mistakes fault.
      let start = range.start === 0n ? granule : range.start
      const last = range.last < below ? range.last : below - 1n
      while (start <= last) {
        const found = addon().containerGap(this.native, start, last, size, alignment)
        if (found === null) break
        yield found
        start = found + alignment
      }
    }
    throw new VfioError(ENOSPC, 'VFIO_IOMMU_MAP_DMA', {
      subject: `${String(piece.size)} bytes${below > MAX_U64 ? '' : ` below ${hex(below)}`}`,
      reason: 'no-iova',
      remedy: 'No free range of that size in iovaRanges: unmap something, or allow higher addresses.',
    })
  }

  #mapContext(piece: Piece, iova: bigint, error: VfioError): VfioErrorContext {
    const context: VfioErrorContext = { subject: span(iova, BigInt(piece.size)) }
    if (error.code === 'ENOMEM') return { ...context, ...memlockContext(piece.size) }
    if (error.code === 'ENOTTY' || error.code === 'EINVAL') return { ...context, ...unattached(error) }
    return context
  }

  /** True when another owner of the container has the range, which only the kernel knows: try the next. */
  #taken(error: unknown, place: Placement): boolean {
    return place.iova === undefined && error instanceof VfioError && error.errno === EEXIST
  }

  #placeSync(piece: Piece, place: Placement): bigint {
    for (const iova of this.#candidates(piece, place)) {
      try {
        attempt(
          (error) => this.#mapContext(piece, iova, error),
          () => {
            addon().containerMapDmaSync(
              this.native,
              piece.memory.native,
              piece.offset,
              piece.size,
              iova,
              place.flags,
            )
          },
        )
        return iova
      } catch (error) {
        if (!this.#taken(error, place)) throw error
      }
    }
    throw new VfioError(EEXIST, 'VFIO_IOMMU_MAP_DMA')
  }

  async #placeAsync(piece: Piece, place: Placement): Promise<bigint> {
    return this.running(async () => {
      for (const iova of this.#candidates(piece, place)) {
        try {
          await attemptAsync(
            (error) => this.#mapContext(piece, iova, error),
            () =>
              addon().containerMapDma(
                this.native,
                piece.memory.native,
                piece.offset,
                piece.size,
                iova,
                place.flags,
              ),
          )
          return iova
        } catch (error) {
          if (!this.#taken(error, place)) throw error
        }
      }
      throw new VfioError(EEXIST, 'VFIO_IOMMU_MAP_DMA')
    })
  }

  #own(memory: GuestMemory, iova: bigint): DmaBuffer {
    const mapping = addon().dmaMappingOwn(this.nativeInFlight, iova, BigInt(memory.size))
    if (this.closed) {
      addon().handleRelease(mapping, false)
      throw new VfioError(EBADF, 'closed', { subject: this.label })
    }
    const buffer = new DmaBuffer(mapping, memory, iova, memory.size, this)
    const ref = new WeakRef(buffer)
    this.#refs.set(buffer, ref)
    this.#buffers.add(ref)
    if (this.#buffers.size > this.#pruneAt) {
      for (const each of this.#buffers) if (each.deref() === undefined) this.#buffers.delete(each)
      this.#pruneAt = this.#buffers.size * 2
    }
    return buffer
  }
}

/** The smallest page of a mapping, in bytes. */
function granuleOf({ pageSizes: [least] }: Type1Info): bigint {
  return least ?? BigInt(pageSize())
}

function checkRange(geometry: Type1Info, iova: bigint, size: bigint): void {
  const end = iova + size - 1n
  const ranges = rangesOf(geometry)
  for (const { start, last } of ranges) if (iova >= start && end <= last) return
  const shown = ranges.map(({ start, last }) => `${hex(start)}-${hex(last)}`).join(', ')
  throw new RangeError(
    `iova must lie inside one of the valid ranges (${shown}); ${span(iova, size)} does not`,
  )
}

function span(iova: bigint, size: bigint): string {
  return `IOVA ${hex(iova)}-${hex(iova + size - 1n)}`
}

function pieceOf(memory: Mappable): Piece {
  if (memory instanceof GuestMemory) return { memory, offset: 0, size: memory.size }
  if (memory instanceof DmaBuffer) return { memory: memory.memory, offset: 0, size: memory.size }
  const view = ArrayBuffer.isView(memory) ? memory : undefined
  const buffer = view === undefined ? memory : view.buffer
  if (!(buffer instanceof ArrayBuffer) && !(buffer instanceof SharedArrayBuffer)) {
    throw new TypeError('memory must be GuestMemory, a DmaBuffer, or a view of the ArrayBuffer of either')
  }
  const origin = originOf(buffer)
  if (origin === undefined) {
    throw new RangeError(
      'memory must be page-aligned memory of this package: an ordinary ArrayBuffer is not; use allocate() or GuestMemory',
    )
  }
  return {
    memory: origin.memory,
    offset: origin.offset + (view?.byteOffset ?? 0),
    size: view?.byteLength ?? buffer.byteLength,
  }
}

function containerContext(path: string, container: ContainerKind, error: VfioError): VfioErrorContext {
  if (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'ENXIO') {
    if (container === 'iommufd') {
      return {
        subject: path,
        reason: 'no-iommufd',
        remedy:
          "This kernel has no iommufd (Linux 6.2, CONFIG_IOMMUFD): modprobe iommufd, or use VFIO's container.",
      }
    }
    return {
      subject: path,
      reason: 'no-vfio-module',
      remedy: 'Load the modules: modprobe vfio-pci vfio_iommu_type1.',
    }
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return {
      subject: path,
      reason: 'permission',
      remedy: `Run as root, or give yourself access to ${path}.`,
    }
  }
  return { subject: path }
}

function iommuContext(error: VfioError): VfioErrorContext {
  if (error.code === 'EPERM') {
    return {
      remedy:
        'The IOMMU does not isolate interrupts: interrupt remapping is off. vfio_iommu_type1.allow_unsafe_interrupts=1 accepts that risk.',
    }
  }
  return {}
}

function unattached(error: VfioError): VfioErrorContext {
  // A container without an IOMMU driver knows none of type1's calls.
  if (error.code !== 'ENOTTY' && error.code !== 'EINVAL') return {}
  return {
    remedy:
      'The address space is usable once a device is open in it; check too that the range is page-aligned.',
  }
}
