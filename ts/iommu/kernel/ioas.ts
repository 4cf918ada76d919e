// The iommufd backend of an AddressSpace: an IOAS.
import { VfioError, type VfioErrorContext } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import type { Geometry, Piece, SpaceBackend } from '../backend.js'
import type { DirtyTracking } from '../dirty-tracking.js'
import { DmaCalls } from './dma-calls.js'
import { IoasDirtyTracking } from './ioas-dirty-tracking.js'
import { Iommufd } from '../iommufd/iommufd.js'
import { KeptGeometry } from './kept-geometry.js'
import { peerContext } from '../../memory/peer-memory.js'
import { rangesFrom } from '../../uapi/iova-range.js'

const MAP_WRITE = 2 // IOMMU_IOAS_MAP_WRITEABLE
const MAP_READ = 4 // IOMMU_IOAS_MAP_READABLE
const OPTION_HUGE_PAGES = 1 // IOMMU_OPTION_HUGE_PAGES

export class IoasBackend implements SpaceBackend {
  readonly type = 'iommufd'
  readonly mapCall = 'IOMMU_IOAS_MAP'
  readonly confines = true
  // Each page table of the space has its own, and the kernel does not say it.
  readonly cacheCoherent = null
  readonly #native: () => NativeHandle
  readonly #calls: DmaCalls
  #iommufd: Iommufd | undefined
  readonly #geometry: KeptGeometry<Geometry>

  constructor(native: () => NativeHandle) {
    this.#native = native
    this.#calls = new DmaCalls(native)
    this.#geometry = new KeptGeometry(
      () => this.#placeable(),
      () => addon().ioasChanges(native()),
    )
  }

  get native(): NativeHandle {
    return this.#native()
  }

  get iommufd(): Iommufd {
    return (this.#iommufd ??= Iommufd.over(addon().ioasIommufd(this.#native())))
  }

  get id(): number {
    return addon().ioasId(this.#native())
  }

  get fd(): number {
    return this.iommufd.fd
  }

  info(): Geometry {
    const [alignment = 1n, ...flat] = addon().ioasIovaRanges(this.#native())
    const iovaRanges = rangesFrom(flat)
    // Without a device any byte is as good as another; memory comes in pages all the same.
    const page = BigInt(addon().pageSize())
    return { pageSizes: [alignment > page ? alignment : page], iovaRanges, mappingsAvailable: null }
  }

  /**
   * Where places are picked: as the kernel's own picking, inside what was allowed, which no device that comes later takes
   * away. A given address may be any usable one.
   */
  #placeable(): Geometry {
    const geometry = this.info()
    const allowed = rangesFrom(addon().ioasAllowed(this.#native()))
    return allowed.length === 0 ? geometry : { ...geometry, iovaRanges: allowed }
  }

  geometry(): Geometry {
    return this.#geometry.get()
  }

  forgetGeometry(): void {
    this.#geometry.drop()
  }

  mapFlags(read: boolean, write: boolean): number {
    return (read ? MAP_READ : 0) | (write ? MAP_WRITE : 0)
  }

  mapOwnedSync({ memory, offset, size }: Piece, iova: bigint, flags: number): NativeHandle {
    return addon().ioasMapSync(this.#native(), memory.native, offset, size, iova, flags)
  }

  mapOwned({ memory, offset, size }: Piece, iova: bigint, flags: number): Promise<NativeHandle> {
    return addon().ioasMap(this.#native(), memory.native, offset, size, iova, flags)
  }

  mapSync(piece: Piece, iova: bigint, flags: number): void {
    this.#calls.map(piece, iova, flags)
  }

  async unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    try {
      return await addon().ioasUnmap(this.#native(), iova, size)
    } catch (error) {
      return nothingThere(error)
    }
  }

  unmapSync(iova: bigint, size: number | bigint): bigint {
    try {
      return this.#calls.unmap(iova, size)
    } catch (error) {
      return nothingThere(error)
    }
  }

  unmapAll(): bigint {
    try {
      return addon().ioasUnmapAll(this.#native())
    } catch (error) {
      return nothingThere(error)
    }
  }

  get hugePages(): boolean {
    return addon().iommufdOption(this.iommufd.native, OPTION_HUGE_PAGES, this.id, null) === 1n
  }
  set hugePages(combine: boolean) {
    addon().iommufdOption(this.iommufd.native, OPTION_HUGE_PAGES, this.id, combine ? 1n : 0n)
  }

  dirtyTracking(): DirtyTracking {
    return new IoasDirtyTracking(this.#native, this.#calls)
  }

  explainMap(error: VfioError, peer: boolean): VfioErrorContext {
    if (peer) return peerContext(error)
    if (error.code === 'EINVAL') {
      return { remedy: 'Check that the range is page-aligned and among iovaRanges.' }
    }
    return {}
  }

  close(): void {
    this.#iommufd?.close()
  }
}

/** type1 says 0 where iommufd has an error. */
function nothingThere(error: unknown): bigint {
  if (error instanceof VfioError && error.code === 'ENOENT') return 0n
  throw error
}
