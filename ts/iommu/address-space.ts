// AddressSpace: what devices see as memory, whichever kernel interface stands behind it (see backend.ts). Ties together its
// mappings, buffers and devices; the list of what is mapped is native, because Workers share it.
import { EBADF, VfioError } from '../errors.js'
import { type Handle, type ShareToken, SharedHandle, releaseNative } from '../handle.js'
import { GuestMemory, type MemoryOptions } from '../memory/guest-memory.js'
import type { NativeHandle } from '../native/index.js'
import type { IovaRange } from '../uapi/iova-range.js'
import { boolean, instance, internal } from '../validate.js'
import type { IommuType, OpenedSpace, SpaceBackend } from './backend.js'
import { Buffers } from './buffers.js'
import type { DirtyTracking } from './dirty-tracking.js'
import { DmaBuffer } from './dma-buffer.js'
import { copyMapping, fileMapping } from './file-mapping.js'
import type { Iommufd } from './iommufd/iommufd.js'
import { containerSpace, ioasSpace } from './kernel/open.js'
import type { ContainerIommu } from './kernel/type1.js'
import { Mapper } from './mapper.js'
import { Members, type SpaceMember } from './members.js'
import { attachGroup, filesOf, ioasOf } from './needs.js'
import { type AddressSpaceOptions, adoptSpace, openSpace } from './open-space.js'
import { type MapOptions, type Mappable, pieceOf } from './pieces.js'
import { type PlaceOptions, type Placement, checkPlacement, rangesOf } from './placement.js'
import type { Placed } from './placer.js'
import { claimedSpace, spaceKindOf } from './space-kinds.js'
import { unmap, unmapSync } from './unmapping.js'

export interface AllocateOptions extends PlaceOptions, MemoryOptions {}

/**
 * An IOMMU address space: what devices see as memory, and which of it they may touch. One is made for a device that is
 * opened without one; pass one to `VfioDevice.open` for several devices that share buffers. It becomes usable when its
 * first device is opened. What is mapped stays without a device in a space of iommufd (its compatibility mode too); a
 * container of VFIO's own loses it with its last device, for the kernel takes the IOMMU driver away: map it anew.
 */
export class AddressSpace extends SharedHandle<'AddressSpace'> {
  readonly #backend: SpaceBackend
  readonly #mapper: Mapper
  readonly #members = new Members()
  readonly #buffers = new Buffers()
  #automatic = false

  private constructor(opened: OpenedSpace) {
    const { native, backend } = internal(opened, 'AddressSpace', 'AddressSpace.open()')
    super(native, 'AddressSpace')
    this.#backend = backend(() => this.native)
    this.#mapper = new Mapper(
      this.#backend,
      () => this.closed,
      (call) => this.running(call),
    )
  }

  /**
   * Opens an empty space (`/dev/iommu` or `/dev/vfio/vfio`).
   * @throws VfioError `no-vfio-module`, `no-iommufd`, `permission`
   */
  static open(options?: AddressSpaceOptions): AddressSpace {
    return new AddressSpace(openSpace(options))
  }

  /** Takes ownership of a container's descriptor. `type` says what IOMMU driver was set on it, if one was. */
  static fromFd(fd: number, options?: { type?: ContainerIommu }): AddressSpace {
    return new AddressSpace(adoptSpace(fd, options))
  }

  /** The space behind a token, in this environment. */
  static claim(token: ShareToken): AddressSpace {
    return SharedHandle.claimed(
      token,
      'AddressSpace',
      (native, tag) => new AddressSpace(claimedSpace(native, tag)),
      (tag) => spaceKindOf(tag).native,
    )
  }

  /** A space over whatever stands behind it. @internal */
  static of(opened: OpenedSpace): AddressSpace {
    return new AddressSpace(opened)
  }

  /** A space over a container that is there already. @internal */
  static over(native: NativeHandle): AddressSpace {
    return new AddressSpace(containerSpace(native))
  }

  /** A space over an IOAS. @internal */
  static overIoas(native: NativeHandle): AddressSpace {
    return new AddressSpace(ioasSpace(native))
  }

  /** @internal */
  protected override tokenDetails(): Readonly<Record<string, unknown>> {
    return this.#backend.tag
  }

  /** The descriptor number of the container, or of the iommufd that the space is in. The object keeps ownership. */
  get fd(): number {
    return this.#backend.fd
  }

  /** The IOMMU interface in use; undefined for a container until a device is opened in it. */
  get type(): IommuType | undefined {
    return this.#backend.type
  }

  /** The iommufd that the space is in; null for a container. Closes with the space. */
  get iommufd(): Iommufd | null {
    return this.#backend.ioas?.iommufd ?? null
  }

  /** The number of the IOAS in its iommufd, for programs that share the descriptor; null for a container. */
  get ioasId(): number | null {
    return this.#backend.ioas?.id ?? null
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
    return this.#backend.mappingCount
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
      return await this.running(async () => this.#own(memory, await this.#mapper.owned(piece, place)))
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
      return this.#own(memory, this.#mapper.ownedSync(pieceOf(memory), place))
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
    return this.#mapper.map(pieceOf(memory, options), this.#placement(options))
  }

  /** `map`, blocking. */
  mapSync(memory: Mappable, options?: MapOptions): bigint {
    return this.#mapper.mapSync(pieceOf(memory, options), this.#placement(options))
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
    return this.#mapper.other(fileMapping(this.#backend, file, options))
  }

  /** `mapFile`, blocking. */
  mapFileSync(file: Handle | number, options?: MapOptions): bigint {
    return this.#mapper.otherSync(fileMapping(this.#backend, file, options))
  }

  /**
   * Makes what another space of the same iommufd has mapped at [iova, iova + size) visible here too (IOMMU_IOAS_COPY); the
   * memory is pinned once. The range must be of whole mappings.
   * @param options where it shall be here, and how it may be accessed (default: picked, read and write)
   * @returns the IOVA here
   * @throws VfioError ENOENT when nothing is mapped there; EOPNOTSUPP for containers
   */
  async copy(source: AddressSpace, iova: bigint, size: number, options?: PlaceOptions): Promise<bigint> {
    const from = (): AddressSpace => instance(source, AddressSpace, 'source')
    return this.#mapper.other(copyMapping(this.#backend, from, iova, size, options))
  }

  /** `copy`, blocking. */
  copySync(source: AddressSpace, iova: bigint, size: number, options?: PlaceOptions): bigint {
    const from = (): AddressSpace => instance(source, AddressSpace, 'source')
    return this.#mapper.otherSync(copyMapping(this.#backend, from, iova, size, options))
  }

  /**
   * Keeps ranges usable whatever devices come later: one that would need part of them for itself is refused
   * (IOMMU_IOAS_ALLOW_IOVAS). Places are picked inside them from then on; a given `iova` may lie elsewhere. They replace what
   * was allowed before; none at all lifts it.
   * @throws VfioError EADDRINUSE when a device has part of them already; EOPNOTSUPP for a container
   */
  allowIovas(ranges: readonly IovaRange[]): void {
    filesOf(this.#backend, 'IOMMU_IOAS_ALLOW_IOVAS').allow(ranges)
  }

  /**
   * Whether contiguous pages may become large ones in the IOMMU (IOMMU_OPTION_HUGE_PAGES, default true).
   * @throws VfioError EOPNOTSUPP for a container
   */
  get hugePages(): boolean {
    return ioasOf(this.#backend, 'IOMMU_OPTION').hugePages
  }
  set hugePages(combine: boolean) {
    ioasOf(this.#backend, 'IOMMU_OPTION').hugePages = boolean(combine, 'hugePages')
  }

  /**
   * Takes mappings back (VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_UNMAP): every one that lies in the range.
   * @returns the bytes unmapped, 0 where nothing was mapped. On type1 (v1) that may be 0 (the middle of a mapping) or more
   *   than asked.
   */
  async unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    return this.running(() => unmap(this.#backend, iova, size))
  }

  /** `unmap`, blocking. */
  unmapSync(iova: bigint, size: number | bigint): bigint {
    return unmapSync(this.#backend, iova, size)
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
    if (!this.#backend.confines && this.lastHolder) this.#members.stopDma()
    this.#buffers.closeAll()
    this.#backend.close()
  }

  // -- for devices and other spaces --

  /** What stands behind it. @internal */
  get backend(): SpaceBackend {
    return this.#backend
  }

  /** Puts a group in and sets the IOMMU driver if it is the first. @internal */
  attachGroup(group: NativeHandle): void {
    attachGroup(this.#backend, group)
  }

  /** Whether devices come in by their own nodes, not by their groups. @internal */
  get takesNodes(): boolean {
    return this.#backend.ioas !== undefined
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
    const arrived = this.#members.expect()
    return () => {
      arrived()
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
    return this.#automatic && this.#members.none && !this.closed
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
    if (this.#backend.confines) giveBack()
    else this.#members.withoutDma(giveBack)
  }

  /** @internal */
  forget(buffer: DmaBuffer): void {
    this.#buffers.delete(buffer)
  }

  #placement(options: PlaceOptions | undefined): Placement {
    return checkPlacement(options, this.#backend)
  }

  #own(
    memory: GuestMemory,
    { iova, mapping = this.#backend.own(iova, BigInt(memory.size)) }: Placed,
  ): DmaBuffer {
    if (this.closed) {
      releaseNative(mapping)
      throw new VfioError(EBADF, 'closed', { subject: this.label })
    }
    const buffer = new DmaBuffer(mapping, memory, iova, memory.size, this)
    this.#buffers.add(buffer)
    return buffer
  }
}
