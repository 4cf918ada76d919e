// The backend of an AddressSpace without an IOMMU: devices use physical addresses, and nothing keeps them to what they were
// given.
import { EIO, ENOSPC, EOPNOTSUPP, VfioError } from '../../errors.js'
import { pageSize } from '../../memory/page.js'
import { addon, type NativeHandle } from '../../native/index.js'
import type { Type1Info } from '../../uapi/vfio/type1-info.js'
import { MAX_U64 } from '../../validate.js'
import type { Geometry, Piece } from '../backend.js'
import { ContainerBackend } from './type1.js'

export class NoIommuBackend extends ContainerBackend {
  override readonly confines = false

  constructor(own: () => NativeHandle) {
    super(own, 'noiommu')
  }

  // From the start: no other driver can be set on a container that such a group is in.
  override get type(): 'noiommu' {
    return 'noiommu'
  }

  override info(): Type1Info {
    return {
      pageSizes: [BigInt(pageSize())],
      iovaRanges: [{ start: 0n, last: MAX_U64 }],
      mappingsAvailable: null,
      migration: null,
    }
  }

  override geometry(): Geometry {
    return this.info()
  }

  /** The memory's physical address. It is locked, so that it stays; it must be contiguous, as huge pages are. */
  locate({ memory, peer, offset, size }: Piece, iova?: bigint, below?: bigint): bigint {
    if (peer) {
      throw new VfioError(EOPNOTSUPP, 'VFIO_IOMMU_MAP_DMA', {
        reason: 'no-iommu',
        remedy:
          "Without an IOMMU a device reaches another's memory at its bus address, which sysfs has in `resource`.",
      })
    }
    if (iova !== undefined) {
      throw new VfioError(EOPNOTSUPP, 'VFIO_IOMMU_MAP_DMA', {
        reason: 'no-iommu',
        remedy: 'Without an IOMMU the address is the physical one: leave out iova.',
      })
    }
    const pages = addon().memoryPages(memory.native, offset, size)
    const [start = 0n] = pages
    if (pages.includes(0n)) {
      throw new VfioError(EIO, 'pread', {
        subject: '/proc/self/pagemap',
        reason: 'permission',
        remedy: 'Physical addresses are shown to a process with CAP_SYS_ADMIN only.',
      })
    }
    const page = BigInt(pageSize())
    if (pages.some((address, index) => address !== start + BigInt(index) * page)) {
      throw new VfioError(ENOSPC, 'VFIO_IOMMU_MAP_DMA', {
        subject: `${String(size)} bytes`,
        reason: 'no-iova',
        remedy:
          'The pages are not contiguous, and there is no IOMMU to map them so: use hugePages, or one page at a time.',
      })
    }
    if (below !== undefined && start + BigInt(size) > below) {
      throw new VfioError(ENOSPC, 'VFIO_IOMMU_MAP_DMA', {
        subject: `0x${start.toString(16)}`,
        reason: 'no-iova',
        remedy: 'The memory is above what the device reaches, and no IOMMU moves it.',
      })
    }
    return start
  }

  override unmap(): Promise<bigint> {
    return Promise.resolve(0n)
  }

  override unmapSync(): bigint {
    return 0n
  }

  override unmapAll(): bigint {
    return 0n
  }
}
