// The backend of an AddressSpace that asks an iommufd: an IOAS.
import { VfioError, type VfioErrorContext } from '../../errors.js'
import { pageSize } from '../../memory/page.js'
import { peerContext } from '../../memory/peer-memory.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { rangesFrom } from '../../uapi/iova-range.js'
import type { Geometry, Piece, SpaceIoas, SpaceTag } from '../backend.js'
import type { DirtyTracking } from '../dirty-tracking.js'
import { Iommufd } from '../iommufd/iommufd.js'
import { IoasDirtyTracking } from './ioas-dirty-tracking.js'
import { IoasFiles } from './ioas-files.js'
import { KernelSpace } from './kernel-space.js'

const MAP_WRITE = 2 // IOMMU_IOAS_MAP_WRITEABLE
const MAP_READ = 4 // IOMMU_IOAS_MAP_READABLE
const OPTION_HUGE_PAGES = 1 // IOMMU_OPTION_HUGE_PAGES

export class IoasBackend extends KernelSpace implements SpaceIoas {
  readonly tag: SpaceTag = { backend: 'iommufd' }
  readonly type = 'iommufd'
  readonly mapCall = 'IOMMU_IOAS_MAP'
  // Each page table of the space has its own, and the kernel does not say it.
  readonly cacheCoherent = null
  readonly files: IoasFiles
  #iommufd: Iommufd | undefined

  constructor(own: () => NativeHandle) {
    super(own, () => addon().ioasChanges(own()))
    this.files = new IoasFiles(own)
  }

  get ioas(): SpaceIoas {
    return this
  }

  get iommufd(): Iommufd {
    return (this.#iommufd ??= Iommufd.over(addon().ioasIommufd(this.native())))
  }

  get id(): number {
    return addon().ioasId(this.native())
  }

  get hugePages(): boolean {
    return addon().iommufdOption(this.iommufd.native, OPTION_HUGE_PAGES, this.id, null) === 1n
  }
  set hugePages(combine: boolean) {
    addon().iommufdOption(this.iommufd.native, OPTION_HUGE_PAGES, this.id, combine ? 1n : 0n)
  }

  get fd(): number {
    return this.iommufd.fd
  }

  info(): Geometry {
    const [alignment = 1n, ...flat] = addon().ioasIovaRanges(this.native())
    const iovaRanges = rangesFrom(flat)
    // Without a device any byte is as good as another; memory comes in pages all the same.
    const page = BigInt(pageSize())
    return { pageSizes: [alignment > page ? alignment : page], iovaRanges, mappingsAvailable: null }
  }

  /**
   * As the kernel's own picking: inside what was allowed, which no device that comes later takes away. A given address may be
   * any usable one.
   */
  protected override placeable(): Geometry {
    const geometry = this.info()
    const { allowed } = this.files
    return allowed.length === 0 ? geometry : { ...geometry, iovaRanges: allowed }
  }

  mapFlags(read: boolean, write: boolean): number {
    return (read ? MAP_READ : 0) | (write ? MAP_WRITE : 0)
  }

  mapOwned({ memory, offset, size }: Piece, iova: bigint, flags: number): Promise<NativeHandle> {
    return addon().ioasMap(this.native(), memory.native, offset, size, iova, flags)
  }

  mapOwnedSync({ memory, offset, size }: Piece, iova: bigint, flags: number): NativeHandle {
    return addon().ioasMapSync(this.native(), memory.native, offset, size, iova, flags)
  }

  async unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    try {
      return await addon().ioasUnmap(this.native(), iova, size)
    } catch (error) {
      return nothingThere(error)
    }
  }

  override unmapSync(iova: bigint, size: number | bigint): bigint {
    try {
      return super.unmapSync(iova, size)
    } catch (error) {
      return nothingThere(error)
    }
  }

  unmapAll(): bigint {
    try {
      return addon().ioasUnmapAll(this.native())
    } catch (error) {
      return nothingThere(error)
    }
  }

  dirtyTracking(): DirtyTracking {
    return new IoasDirtyTracking(this.native, this.calls)
  }

  explainMap(error: VfioError, peer: boolean): VfioErrorContext {
    if (peer) return peerContext(error)
    if (error.code === 'EINVAL') {
      return { remedy: 'Check that the range is page-aligned and among iovaRanges.' }
    }
    return {}
  }

  override close(): void {
    this.#iommufd?.close()
  }
}

/** type1 says 0 where iommufd has an error. */
function nothingThere(error: unknown): bigint {
  if (error instanceof VfioError && error.code === 'ENOENT') return 0n
  throw error
}
