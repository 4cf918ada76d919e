// AddressSpace: what devices see as memory, whichever kernel interface stands behind it (see backend.ts). Ties together its
// mappings, buffers and devices; the list of what is mapped is native, because Workers share it.
import { EBADF, EOPNOTSUPP, VfioError, explained } from '../errors.js'
import { Handle, type ShareToken, claimNative, readToken } from '../handle.js'
import { addon, type NativeHandle } from '../native.js'
import {
  MAX_U64,
  array,
  bigint,
  boolean,
  instance,
  integer,
  object,
  oneOf,
  options as optionsOf,
} from '../validate.js'
import type { IommuType, SpaceBackend } from './backend.js'
import { DmaBuffer } from './dma-buffer.js'
import type { DirtyTracking } from './dirty-tracking.js'
import { GuestMemory, type MemoryOptions } from './guest-memory.js'
import { IoasBackend } from './ioas.js'
import type { Iommufd } from './iommufd.js'
import {
  type Extent,
  type MapOptions,
  type Mappable,
  type MemoryPiece,
  type PlaceOptions,
  type Placement,
  checkPlacement,
  filePieceOf,
  granuleOf,
  pieceOf,
  rangesOf,
  span,
} from './placement.js'
import { LONG, type Placed, handOver } from './placed.js'
import { Placer } from './placer.js'
import { containerBackend } from './noiommu.js'
import { type AddressSpaceOptions, CONTAINER_IOMMUS, openSpace } from './open-space.js'
import { ContainerBackend, type ContainerIommu, adoptContainer } from './type1.js'
import type { IovaRange } from './type1-info.js'

export type { IommuType } from './backend.js'
export type { AddressSpaceOptions } from './open-space.js'
export type { ContainerKind } from './type1.js'
export type { MapAccess, MapOptions, Mappable, PlaceOptions } from './placement.js'

export interface AllocateOptions extends PlaceOptions, MemoryOptions {}

/** What a device of the space lets the space do. Not part of the public surface. */
export interface SpaceMember {
  /** Clears bus master; true when it was set. */
  stopDma(): boolean
  resumeDma(): void
}

/**
 * An IOMMU address space: what devices see as memory, and which of it they may touch. One is made for a device that is
 * opened without one; pass one to `VfioDevice.open` for several devices that share buffers. It becomes usable when its
 * first device is opened. What is mapped stays without a device in a space of iommufd (its compatibility mode too); a
 * container of VFIO's own loses it with its last device, for the kernel takes the IOMMU driver away: map it anew.
 */
export class AddressSpace extends Handle {
  readonly #members = new Set<SpaceMember>()
  readonly #buffers = new Set<WeakRef<DmaBuffer>>()
  readonly #refs = new WeakMap<DmaBuffer, WeakRef<DmaBuffer>>()
  readonly #backend: SpaceBackend
  readonly #placer: Placer
  #automatic = false
  #expected = 0
  #pruneAt = 64

  private constructor(native: NativeHandle, backendOf: (native: () => NativeHandle) => SpaceBackend) {
    super(native, 'AddressSpace')
    this.#backend = backendOf(() => this.native)
    this.#placer = new Placer(
      this.#backend,
      (start, last, size, alignment) => addon().dmaGap(this.native, start, last, size, alignment),
      () => this.closed,
    )
  }

  /**
   * Opens an empty space (`/dev/iommu` or `/dev/vfio/vfio`).
   * @throws VfioError `no-vfio-module`, `no-iommufd`, `permission`
   */
  static open(options?: AddressSpaceOptions): AddressSpace {
    const { native, backend } = openSpace(options)
    return new AddressSpace(native, backend)
  }

  /** Takes ownership of a container's descriptor. `type` says what IOMMU driver was set on it, if one was. */
  static fromFd(fd: number, options?: { type?: ContainerIommu }): AddressSpace {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    const { type } = optionsOf(options, 'options')
    if (type !== undefined) oneOf(type, 'type', CONTAINER_IOMMUS)
    return AddressSpace.over(adoptContainer(fd, type), type)
  }

  /** The space behind a token, in this environment. */
  static claim(token: ShareToken): AddressSpace {
    const { id, wanted, backend } = readToken(token, 'AddressSpace')
    if (backend === 'iommufd') return AddressSpace.overIoas(claimNative(id, 'Ioas'))
    const known = CONTAINER_IOMMUS.find((type) => type === wanted)
    return AddressSpace.over(claimNative(id, 'AddressSpace'), known)
  }

  /** A space over a container that is there already. @internal */
  static over(native: NativeHandle, wanted?: ContainerIommu): AddressSpace {
    return new AddressSpace(native, (own) => containerBackend(own, wanted ?? 'auto'))
  }

  /** A space over an IOAS. @internal */
  static overIoas(native: NativeHandle): AddressSpace {
    return new AddressSpace(native, (own) => new IoasBackend(own))
  }

  /** A token for `AddressSpace.claim` in another Worker of this process. */
  share(): ShareToken<'AddressSpace'> {
    const id = addon().handleShare(this.native)
    if (this.#backend instanceof ContainerBackend)
      return { vfio: 'AddressSpace', id, wanted: this.#backend.type }
    return { vfio: 'AddressSpace', id, backend: 'iommufd' }
  }

  /** The descriptor number of the container, or of the iommufd that the space is in. It stays this object's. */
  get fd(): number {
    return this.#backend.fd
  }

  /** The IOMMU interface in use; undefined for a container until a device is opened in it. */
  get type(): IommuType | undefined {
    return this.#backend.type
  }

  /** The iommufd that the space is in; null for a container. Closes with the space. */
  get iommufd(): Iommufd | null {
    return this.#ioas?.iommufd ?? null
  }

  /** The number of the IOAS in its iommufd, for programs that share the descriptor; null for a container. */
  get ioasId(): number | null {
    return this.#ioas?.id ?? null
  }

  /** The usable IOVAs, ascending, without what the IOMMU reserves. One range of everything before Linux 5.4. */
  get iovaRanges(): IovaRange[] {
    return [...rangesOf(this.#backend.info())]
  }

  /**
   * The page sizes of mappings in bytes, ascending. The first is the granule of every IOVA and size; iommufd names no other.
   */
  get pageSizes(): bigint[] {
    return [...this.#backend.info().pageSizes]
  }

  /** How many mappings can still be made; null when the kernel does not say (before Linux 5.10) or sets no limit (iommufd). */
  get mappingsAvailable(): number | null {
    return this.#backend.info().mappingsAvailable
  }

  /** How many mappings this process made here. */
  get mappingCount(): number {
    return addon().dmaMappingCount(this.native)
  }

  /**
   * Whether the IOMMU keeps all DMA coherent with the processors' caches, also what a device marks as not to be snooped
   * (VFIO_DMA_CC_IOMMU): a guest's own handling of caches then matters not. Null where the kernel does not tell: before the
   * first device, and in a space of iommufd.
   */
  get cacheCoherent(): boolean | null {
    return this.#backend.cacheCoherent
  }

  /**
   * Which pages devices wrote to: VFIO_IOMMU_DIRTY_PAGES of type1v2 (Linux 5.8), or the page tables of an iommufd space that
   * was opened with `dirtyTracking` (IOMMU_HWPT_SET_DIRTY_TRACKING, Linux 6.7), where the marks go with the last device.
   * Elsewhere its methods throw: EACCES on type1, ENOTTY in iommufd's compatibility mode, EOPNOTSUPP.
   */
  get dirtyTracking(): DirtyTracking {
    return this.#backend.dirtyTracking()
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
      const piece = pieceOf(memory)
      // One call in flight until the buffer owns the mapping: a close in between must find it.
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
      return this.#own(memory, this.#placeOwnedSync(pieceOf(memory), place))
    } catch (error) {
      memory.close()
      throw error
    }
  }

  /**
   * Lets devices reach memory at an address of theirs (VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP). The memory is pinned until `unmap`.
   *
   * A `Region` is another device's own memory (peer to peer): what is mapped of a BAR goes to that device, and is unmapped
   * when the last Worker that has that region open closes it. The type1 IOMMU of a VFIO container takes it; iommufd takes a region as a dma-buf only (`mapFile`).
   * @param memory GuestMemory, a DmaBuffer, a page-aligned view of either's ArrayBuffer, or a Region
   * @returns the IOVA
   * @throws RangeError for other memory: an ordinary ArrayBuffer is not page-aligned; use `allocate`
   * @throws VfioError EFAULT (`peer-memory`) for a region in a space of iommufd, or one whose device does not decode memory
   *   accesses; EIO for a region that stopped answering
   */
  async map(memory: Mappable, options?: MapOptions): Promise<bigint> {
    const piece = pieceOf(memory, options)
    return handOver(await this.#placeAsync(piece, this.#placement(options)))
  }

  /** `map`, blocking. */
  mapSync(memory: Mappable, options?: MapOptions): bigint {
    const piece = pieceOf(memory, options)
    return this.#placeSync(piece, this.#placement(options))
  }

  /**
   * Lets devices reach part of a file (IOMMU_IOAS_MAP_FILE, Linux 6.14): a memfd, or a dma-buf (Linux 6.19), such as the one
   * of another device's region. The kernel keeps the file; no address of this process is involved.
   * @param file GuestMemory, another object of this package with a descriptor, or a descriptor, which stays the caller's
   * @param options `size` in bytes, a multiple of the page size (default: the memory's; to be given for other files)
   * @returns the IOVA
   * @throws VfioError EOPNOTSUPP for a container: only iommufd has it
   */
  async mapFile(file: Handle | number, options?: MapOptions): Promise<bigint> {
    const { native, piece, place } = this.#filePiece(file, options)
    const placed = await this.#place(piece, place, (iova) =>
      addon().ioasMapFile(this.native, native, piece.offset, piece.size, iova, place.flags),
    )
    return handOver(placed)
  }

  /** `mapFile`, blocking. */
  mapFileSync(file: Handle | number, options?: MapOptions): bigint {
    const { native, piece, place } = this.#filePiece(file, options)
    const placed = this.#placer.ownedSync(piece, place, (iova) =>
      addon().ioasMapFileSync(this.native, native, piece.offset, piece.size, iova, place.flags),
    )
    return handOver(placed)
  }

  /**
   * Makes what another space of the same iommufd has mapped at [iova, iova + size) visible here too (IOMMU_IOAS_COPY); the
   * memory is pinned once. The range must be of whole mappings.
   * @param options where it shall be here, and how it may be accessed (default: picked, read and write)
   * @returns the IOVA here
   * @throws VfioError ENOENT when nothing is mapped there; EOPNOTSUPP for containers
   */
  async copy(source: AddressSpace, iova: bigint, size: number, options?: PlaceOptions): Promise<bigint> {
    const { extent, place, from } = this.#copyPiece(source, iova, size, options)
    const placed = await this.#place(extent, place, (target) =>
      addon().ioasCopy(this.native, from, iova, BigInt(size), target, place.flags),
    )
    return handOver(placed)
  }

  /** `copy`, blocking. */
  copySync(source: AddressSpace, iova: bigint, size: number, options?: PlaceOptions): bigint {
    const { extent, place, from } = this.#copyPiece(source, iova, size, options)
    const placed = this.#placer.ownedSync(extent, place, (target) =>
      addon().ioasCopySync(this.native, from, iova, BigInt(size), target, place.flags),
    )
    return handOver(placed)
  }

  /**
   * Keeps ranges usable whatever devices come later: one that would need part of them for itself is refused
   * (IOMMU_IOAS_ALLOW_IOVAS). Places are picked inside them from then on; a given `iova` may lie elsewhere. They replace what
   * was allowed before; none at all lifts it.
   * @throws VfioError EADDRINUSE when a device has part of them already; EOPNOTSUPP for a container
   */
  allowIovas(ranges: readonly IovaRange[]): void {
    this.#needIoas('IOMMU_IOAS_ALLOW_IOVAS')
    const flat = array(ranges, 'ranges').flatMap((range) => {
      const { start, last } = object(range, 'range')
      bigint(start, 'start', 0n, MAX_U64)
      return [start, bigint(last, 'last', start, MAX_U64)]
    })
    addon().ioasAllowIovas(this.native, flat)
  }

  /**
   * Whether contiguous pages may become large ones in the IOMMU (IOMMU_OPTION_HUGE_PAGES, default true).
   * @throws VfioError EOPNOTSUPP for a container
   */
  get hugePages(): boolean {
    return this.#needIoas('IOMMU_OPTION').hugePages
  }
  set hugePages(combine: boolean) {
    this.#needIoas('IOMMU_OPTION').hugePages = boolean(combine, 'hugePages')
  }

  /**
   * Takes mappings back (VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_UNMAP): every one that lies in the range.
   * @returns the bytes unmapped, 0 where nothing was mapped. On type1 (v1) that may be 0 (the middle of a mapping) or more
   *   than asked.
   */
  async unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    return this.running(async () => {
      try {
        const unmapped = await this.#backend.unmap(iova, size)
        return unmapped === 0n ? this.#nothing(iova, size) : unmapped
      } catch (error) {
        throw explained(error, { subject: span(iova, this.#range(iova, size)) })
      }
    })
  }

  /** `unmap`, blocking. */
  unmapSync(iova: bigint, size: number | bigint): bigint {
    try {
      const unmapped = this.#backend.unmapSync(iova, size)
      // Comparing with 0n would be a call of the runtime.
      return unmapped ? unmapped : this.#nothing(iova, size)
    } catch (error) {
      throw explained(error, { subject: span(iova, this.#range(iova, size)) })
    }
  }

  /** Takes every mapping back, those of DmaBuffers too. Returns the bytes unmapped. */
  unmapAll(): bigint {
    return this.#backend.unmapAll()
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
    // Behind an IOMMU its memory is out of their reach once it is unmapped, and their interrupts are not the space's.
    if (!this.#backend.confines && this.lastHolder) for (const member of this.#members) member.stopDma()
    for (const ref of this.#buffers) ref.deref()?.[Symbol.dispose]()
    this.#buffers.clear()
    this.#backend.close()
  }

  // -- for devices --

  /** Puts a group in and sets the IOMMU driver if it is the first. @internal */
  attachGroup(group: NativeHandle): void {
    if (!(this.#backend instanceof ContainerBackend)) {
      throw new VfioError(EOPNOTSUPP, 'VFIO_GROUP_SET_CONTAINER', {
        remedy: 'A group needs a container, and this space is an IOAS: open the device by its own node.',
      })
    }
    this.#backend.attachGroup(group)
  }

  /** Whether devices come in by their own nodes, not by their groups. @internal */
  get takesNodes(): boolean {
    return this.#ioas !== undefined
  }

  /** @internal */
  join(member: SpaceMember): void {
    this.#members.add(member)
  }

  /**
   * A device is on its way here, which keeps a space open that was made for its devices. Returns what ends that: the device
   * is there, or will not come. @internal
   */
  expectMember(): () => void {
    this.#expected++
    return () => {
      this.#expected--
      if (this.unused) this[Symbol.dispose]()
    }
  }

  /** A space that was made for its devices closes with the last of them. @internal */
  closeWithMembers(): this {
    this.#automatic = true
    return this
  }

  /** True for a space that was made for devices, has none, and is to get none. @internal */
  get unused(): boolean {
    return this.#automatic && this.#members.size === 0 && this.#expected === 0 && !this.closed
  }

  /** True when the space is to be closed now. @internal */
  leave(member: SpaceMember): boolean {
    this.#members.delete(member)
    return this.unused
  }

  /**
   * Gives memory back while no device can write to it. That is the IOMMU's doing where there is one; elsewhere the devices stop
   * for it. All of it happens at once, so that neither the program nor another buffer sees the moment.
   * @internal
   */
  withoutDma(giveBack: () => void): void {
    if (this.#backend.confines) {
      giveBack()
      return
    }
    const stopped: SpaceMember[] = []
    try {
      for (const member of this.#members) if (member.stopDma()) stopped.push(member)
    } finally {
      try {
        giveBack()
      } finally {
        for (const member of stopped) member.resumeDma()
      }
    }
  }

  /** @internal */
  forget(buffer: DmaBuffer): void {
    const ref = this.#refs.get(buffer)
    if (ref !== undefined) this.#buffers.delete(ref)
  }

  get #ioas(): IoasBackend | undefined {
    return this.#backend instanceof IoasBackend ? this.#backend : undefined
  }

  #placement(options: PlaceOptions | undefined): Placement {
    return checkPlacement(options, this.#backend)
  }

  /** The range that was to be unmapped, in bytes. As with a given place, what is wrong with it is said when it failed. */
  #range(iova: bigint, size: number | bigint): bigint {
    bigint(iova, 'iova', 0n, MAX_U64)
    if (typeof size === 'number') integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
    const bytes = bigint(typeof size === 'number' ? BigInt(size) : size, 'size', 1n, MAX_U64)
    const granule = granuleOf(this.#backend.info())
    if (iova % granule !== 0n || bytes % granule !== 0n) {
      throw new RangeError(`iova and size must be multiples of ${String(granule)}`)
    }
    if (iova + bytes - 1n > MAX_U64)
      throw new RangeError(`iova + size must be at most 2^64; ${span(iova, bytes)} reaches past it`)
    return bytes
  }

  /** The end of an unmapping that found nothing: nothing is where nothing can be, too. */
  #nothing(iova: bigint, size: number | bigint): bigint {
    this.#range(iova, size)
    return 0n
  }

  #needIoas(call: string): IoasBackend {
    const ioas = this.#ioas
    if (ioas !== undefined) return ioas
    throw new VfioError(EOPNOTSUPP, call, {
      remedy: "Only an address space of iommufd has it: AddressSpace.open({ iommu: 'iommufd' }).",
    })
  }

  #filePiece(
    file: Handle | number,
    options: MapOptions | undefined,
  ): { native: NativeHandle | number; piece: Extent & { offset: number }; place: Placement } {
    this.#needIoas('IOMMU_IOAS_MAP_FILE')
    if (typeof file === 'number') integer(file, 'file', 0, 0x7fff_ffff)
    else instance(file, Handle, 'file')
    const place = this.#placement(options)
    const piece = filePieceOf(file, options)
    return { native: typeof file === 'number' ? file : file.native, piece, place }
  }

  #copyPiece(
    source: AddressSpace,
    iova: bigint,
    size: number,
    options: PlaceOptions | undefined,
  ): { extent: Extent; place: Placement; from: NativeHandle } {
    this.#needIoas('IOMMU_IOAS_COPY')
    instance(source, AddressSpace, 'source').#needIoas('IOMMU_IOAS_COPY')
    bigint(iova, 'iova', 0n, MAX_U64)
    integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
    return {
      extent: { size, alignment: 1, peer: false },
      place: this.#placement(options),
      from: source.native,
    }
  }

  #placeSync(piece: MemoryPiece, place: Placement): bigint {
    const found = this.#found(piece, place)
    if (found !== undefined) return found
    if (piece.size >= LONG) return handOver(this.#placeOwnedSync(piece, place))
    return this.#placer.placeSync(piece, place, (iova) => {
      this.#backend.mapSync(piece, iova, place.flags)
    })
  }

  #placeOwnedSync(piece: MemoryPiece, place: Placement): Placed {
    const found = this.#found(piece, place)
    if (found !== undefined) return { iova: found, mapping: undefined }
    return this.#placer.ownedSync(piece, place, (iova) =>
      this.#backend.mapOwnedSync(piece, iova, place.flags),
    )
  }

  async #placeAsync(piece: MemoryPiece, place: Placement): Promise<Placed> {
    const found = this.#found(piece, place)
    if (found !== undefined) return { iova: found, mapping: undefined }
    return this.#place(piece, place, (iova) => this.#backend.mapOwned(piece, iova, place.flags))
  }

  /** Where the memory is already, for a space in which nothing is mapped. */
  #found(piece: MemoryPiece, place: Placement): bigint | undefined {
    return this.#backend.locate?.(piece, place.iova, place.below)
  }

  #place(piece: Extent, place: Placement, call: (iova: bigint) => Promise<NativeHandle>): Promise<Placed> {
    return this.running(() => this.#placer.owned(piece, place, call))
  }

  #own(memory: GuestMemory, placed: Placed): DmaBuffer {
    const { iova } = placed
    const mapping = placed.mapping ?? addon().dmaMappingOwn(this.nativeInFlight, iova, BigInt(memory.size))
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
