// A space that no kernel stands behind: the other side of the seam of ts/iommu/backend.ts, for tests on any machine. What is
// mapped is a list in JavaScript; owners of mappings are real native objects, so that they end as real ones do.
import { EEXIST, EINVAL, ENOSPC, VfioError, type VfioErrorContext } from '../../ts/errors.js'
import { AddressSpace } from '../../ts/iommu/address-space.js'
import type {
  FilePiece,
  Geometry,
  IommuType,
  Piece,
  SpaceBackend,
  SpaceCopies,
  SpaceFiles,
  SpaceIoas,
  SpaceTag,
} from '../../ts/iommu/backend.js'
import { type DirtyTracking, checkBitmapRange } from '../../ts/iommu/dirty-tracking.js'
import { spaceKinds } from '../../ts/iommu/space-kinds.js'
import { DirtyBitmap } from '../../ts/memory/dirty-bitmap.js'
import { addon, type NativeHandle } from '../../ts/native/index.js'
import type { IovaRange } from '../../ts/uapi/iova-range.js'
import { MAX_U64 } from '../../ts/validate.js'

export const PAGE = 4096n

export interface FakeMapping {
  readonly iova: bigint
  readonly size: bigint
  /** Bytes from the start of the memory or file. */
  readonly offset: number
  /** 1 devices may read, 2 they may write. */
  readonly flags: number
  readonly peer: boolean
  /** How it came here. */
  readonly by: 'memory' | 'file' | 'copy'
}

export interface FakeOptions {
  ranges?: IovaRange[]
  pageSizes?: bigint[]
  /** How many mappings there may be at once. */
  most?: number
  type?: IommuType
  /** Where memory is for devices, for a space that gives out no addresses and confines nobody. */
  locate?: (piece: Piece, iova?: bigint, below?: bigint) => bigint
  /** Whether it knows files. */
  files?: boolean
  ioas?: SpaceIoas
}

/** What may be refused. */
export type FakeCall = 'map' | 'unmap' | 'start'

/** What stands behind every AddressSpace over one fake space. */
export class FakeHost {
  /** What was asked of it, in order. */
  readonly calls: string[] = []
  readonly pageSizes: bigint[]
  most: number
  /** Changing it is what a device does that comes or leaves. */
  ranges: IovaRange[]
  allowed: readonly IovaRange[] = []
  /** The errno of a call; 0 lets it happen. */
  refuse: (call: FakeCall, iova: bigint) => number = () => 0
  /** What calls that do not block wait for. */
  gate: Promise<void> = Promise.resolve()
  /** Pages that a device wrote to. */
  readonly written = new Set<bigint>()
  tracking = false
  readonly options: FakeOptions
  readonly #mappings = new Map<bigint, FakeMapping & { owner: number | undefined }>()

  constructor(options: FakeOptions) {
    const { ranges = [{ start: 0n, last: 0xffff_ffffn }], pageSizes = [PAGE], most = Infinity } = options
    this.options = options
    this.ranges = ranges
    this.pageSizes = pageSizes
    this.most = most
  }

  /** What devices reach, by address. */
  get mappings(): FakeMapping[] {
    // What an owner's release unmaps in the kernel's spaces is found out here when somebody looks.
    for (const { iova, owner } of this.#mappings.values())
      if (owner !== undefined && !isHeld(owner)) this.#mappings.delete(iova)
    return [...this.#mappings.values()]
      .map(({ owner: _, ...mapping }) => mapping)
      .sort((a, b) => Number(a.iova - b.iova))
  }

  /** The addresses of the mappings that have an owner. */
  get owned(): bigint[] {
    const there = new Set(this.mappings.map(({ iova }) => iova))
    return [...this.#mappings.values()]
      .filter(({ iova, owner }) => owner !== undefined && there.has(iova))
      .map(({ iova }) => iova)
  }

  map(mapping: FakeMapping): void {
    this.ask('map', mapping.iova)
    const { iova, size } = mapping
    const [granule = PAGE] = this.pageSizes
    const last = iova + size - 1n
    if (iova % granule !== 0n || size % granule !== 0n) throw new VfioError(EINVAL, 'FAKE_MAP')
    if (!this.ranges.some((range) => iova >= range.start && last <= range.last))
      throw new VfioError(EINVAL, 'FAKE_MAP')
    if (this.#in(iova, last).length > 0) throw new VfioError(EEXIST, 'FAKE_MAP')
    if (this.#mappings.size >= this.most) throw new VfioError(ENOSPC, 'FAKE_MAP')
    this.#mappings.set(iova, { ...mapping, owner: undefined })
  }

  /** Gives a mapping an owner: it is there until that is let go. */
  own(iova: bigint): NativeHandle {
    const owner = addon().eventfdCreate(0, false)
    const mapping = this.#mappings.get(iova)
    if (mapping !== undefined) mapping.owner = addon().handleShare(owner)
    return owner
  }

  leave(owner: NativeHandle): void {
    const id = addon().handleShare(owner)
    for (const mapping of this.#mappings.values()) if (mapping.owner === id) mapping.owner = undefined
    addon().handleRelease(owner, false)
  }

  /** Whole mappings, as iommufd has it; nothing is cut in two. */
  unmap(iova: bigint, size: bigint): bigint {
    this.ask('unmap', iova)
    const [granule = PAGE] = this.pageSizes
    if (iova % granule !== 0n || size % granule !== 0n || size === 0n)
      throw new VfioError(EINVAL, 'FAKE_UNMAP')
    const last = iova + size - 1n
    const found = this.#in(iova, last)
    if (found.some((each) => each.iova < iova || each.iova + each.size - 1n > last))
      throw new VfioError(EINVAL, 'FAKE_UNMAP')
    for (const each of found) this.#mappings.delete(each.iova)
    return found.reduce((sum, each) => sum + each.size, 0n)
  }

  gap(start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null {
    for (let at = start; ;) {
      const first = ((at + alignment - 1n) / alignment) * alignment
      if (first + size - 1n > last) return null
      const [taken] = this.#in(first, first + size - 1n)
      if (taken === undefined) return first
      at = taken.iova + taken.size
    }
  }

  ask(call: FakeCall, iova: bigint): void {
    this.calls.push(`${call} 0x${iova.toString(16)}`)
    const errno = this.refuse(call, iova)
    if (errno !== 0) throw new VfioError(errno, `FAKE_${call.toUpperCase()}`)
  }

  #in(first: bigint, last: bigint): FakeMapping[] {
    return this.mappings.filter(({ iova, size }) => iova <= last && iova + size - 1n >= first)
  }
}

/** Whether any handle holds the object of a number. */
function isHeld(id: number): boolean {
  try {
    addon().handleRelease(addon().handleClaim(id), false)
    return true
  } catch {
    return false
  }
}

export class FakeSpace implements SpaceBackend {
  readonly mapCall = 'FAKE_MAP'
  readonly cacheCoherent = null
  readonly confines: boolean
  readonly files?: SpaceFiles
  readonly ioas?: SpaceIoas
  readonly locate?: (piece: Piece, iova?: bigint, below?: bigint) => bigint
  closed = false
  readonly host: FakeHost
  readonly #own: () => NativeHandle
  #kept: Geometry | undefined

  constructor(own: () => NativeHandle, host: FakeHost) {
    this.#own = own
    this.host = host
    const { locate, files = false, ioas } = host.options
    this.confines = locate === undefined
    if (locate !== undefined) this.locate = locate
    if (files) this.files = new FakeFiles(host)
    if (ioas !== undefined) this.ioas = ioas
  }

  get tag(): SpaceTag {
    return { backend: 'fake', pages: this.host.pageSizes.length }
  }

  get type(): IommuType | undefined {
    return this.host.options.type
  }

  get fd(): number {
    return addon().handleFd(this.#own())
  }

  geometry(): Geometry {
    return (this.#kept ??= this.#geometry(
      this.host.allowed.length > 0 ? this.host.allowed : this.host.ranges,
    ))
  }

  info(): Geometry {
    return this.#geometry(this.host.ranges)
  }

  #geometry(iovaRanges: readonly IovaRange[]): Geometry {
    this.host.calls.push('geometry')
    const { pageSizes, most } = this.host
    const mappingsAvailable = most === Infinity ? null : most - this.host.mappings.length
    return { pageSizes, iovaRanges, mappingsAvailable }
  }

  forgetGeometry(): void {
    this.#kept = undefined
  }

  gap(start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null {
    return this.host.gap(start, last, size, alignment)
  }

  get mappingCount(): number {
    return this.host.mappings.length
  }

  mapFlags(read: boolean, write: boolean): number {
    return (read ? 1 : 0) | (write ? 2 : 0)
  }

  async mapOwned(piece: Piece, iova: bigint, flags: number): Promise<NativeHandle> {
    await this.host.gate
    return this.mapOwnedSync(piece, iova, flags)
  }

  mapOwnedSync(piece: Piece, iova: bigint, flags: number): NativeHandle {
    this.mapSync(piece, iova, flags)
    return this.host.own(iova)
  }

  mapSync({ memory, peer, offset, size }: Piece, iova: bigint, flags: number): void {
    // As a native call does, which refuses memory that was closed.
    addon().handleShare(memory.native)
    this.host.map({ iova, size: BigInt(size), offset, flags, peer, by: 'memory' })
  }

  own(iova: bigint): NativeHandle {
    this.#own()
    return this.host.own(iova)
  }

  leave(mapping: NativeHandle): void {
    this.host.leave(mapping)
  }

  async unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    await this.host.gate
    return this.unmapSync(iova, size)
  }

  unmapSync(iova: bigint, size: number | bigint): bigint {
    this.#own()
    return this.host.unmap(iova, BigInt(size))
  }

  unmapAll(): bigint {
    return this.host.mappings.reduce((sum, { iova, size }) => sum + this.host.unmap(iova, size), 0n)
  }

  dirtyTracking(): DirtyTracking {
    const { host } = this
    const read = (iova: bigint, size: number, pageSize: number): DirtyBitmap => {
      checkBitmapRange(iova, size, pageSize)
      if (!host.tracking) throw new VfioError(EINVAL, 'FAKE_DIRTY')
      const bytes = new Uint8Array(Math.ceil(size / pageSize / 8))
      for (const page of host.written) {
        const index = Number((page - iova) / BigInt(pageSize))
        if (page < iova || page >= iova + BigInt(size)) continue
        bytes[index >> 3] = (bytes[index >> 3] ?? 0) | (1 << (index & 7))
        host.written.delete(page)
      }
      return new DirtyBitmap(bytes, iova, size / pageSize, pageSize)
    }
    return {
      start: () => {
        host.ask('start', 0n)
        host.tracking = true
      },
      stop: () => (host.tracking = false),
      bitmap: read,
      unmap: (iova, size, pageSize) => {
        const marks = read(iova, size, pageSize)
        host.unmap(iova, BigInt(size))
        return marks
      },
    }
  }

  explainMap(_error: VfioError, peer: boolean): VfioErrorContext {
    return { remedy: peer ? 'The fake refused memory of a device.' : 'The fake refused.' }
  }

  close(): void {
    this.closed = true
    this.host.calls.push('close')
  }
}

/** Files are descriptors here: nothing is read of them. */
class FakeFiles implements SpaceFiles, SpaceCopies {
  readonly copies = this
  readonly #host: FakeHost

  constructor(host: FakeHost) {
    this.#host = host
  }

  async map(piece: FilePiece, iova: bigint, flags: number): Promise<NativeHandle> {
    await this.#host.gate
    return this.mapSync(piece, iova, flags)
  }

  mapSync({ file, offset, size }: FilePiece, iova: bigint, flags: number): NativeHandle {
    if (typeof file !== 'number') addon().handleFd(file)
    this.#host.map({ iova, size: BigInt(size), offset, flags, peer: false, by: 'file' })
    return this.#host.own(iova)
  }

  async copy(
    source: NativeHandle,
    from: bigint,
    size: bigint,
    iova: bigint,
    flags: number,
  ): Promise<NativeHandle> {
    await this.#host.gate
    return this.copySync(source, from, size, iova, flags)
  }

  copySync(source: NativeHandle, from: bigint, size: bigint, iova: bigint, flags: number): NativeHandle {
    const there = hostOf(source).mappings.find((each) => each.iova === from && each.size === size)
    if (there === undefined) throw new VfioError(EINVAL, 'FAKE_COPY')
    this.#host.map({ ...there, iova, flags, by: 'copy' })
    return this.#host.own(iova)
  }

  allow(ranges: readonly IovaRange[]): void {
    this.#host.allowed = ranges
  }
}

/** By the number of the native object that stands for the space. */
const hosts = new Map<number, FakeHost>()

function hostOf(native: NativeHandle): FakeHost {
  const host = hosts.get(addon().handleShare(native))
  if (host === undefined) throw new TypeError('no fake space')
  return host
}

spaceKinds.set('fake', {
  native: 'EventFd',
  over: (own) => new FakeSpace(own, hostOf(own())),
})

/** An AddressSpace over a fake, and what stands behind it. */
export function fakeSpace(options: FakeOptions = {}): { space: AddressSpace; host: FakeHost } {
  const native = addon().eventfdCreate(0, false)
  const host = new FakeHost(options)
  hosts.set(addon().handleShare(native), host)
  return { space: AddressSpace.of({ native, backend: (own) => new FakeSpace(own, host) }), host }
}

/** The last address of a range that begins at `start`. */
export function rangeOf(start: bigint, size: bigint): IovaRange {
  return { start, last: size > MAX_U64 - start ? MAX_U64 : start + size - 1n }
}
