// The backend of an AddressSpace that asks a container: VFIO's own type1, or its form in iommufd's compatibility mode.
import { type VfioError, type VfioErrorContext, attempt } from '../../errors.js'
import { readMachine } from '../../host/machine.js'
import { unsafeInterrupts } from '../../host/remedies.js'
import { peerContext } from '../../memory/peer-memory.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { type Type1Info, decodeType1Info } from '../../uapi/vfio/type1-info.js'
import { MAX_U64 } from '../../validate.js'
import type { Geometry, Piece, SpaceTag } from '../backend.js'
import type { DirtyTracking } from '../dirty-tracking.js'
import { KernelSpace } from './kernel-space.js'
import { Type1DirtyTracking } from './type1-dirty-tracking.js'

/** What can be set on a container. */
export const CONTAINER_IOMMUS = ['type1v2', 'type1', 'noiommu'] as const
export type ContainerIommu = (typeof CONTAINER_IOMMUS)[number]

/** Who answers the container's calls. */
export type ContainerKind = 'vfio' | 'iommufd'

/** The extensions by which VFIO knows its IOMMU drivers. */
export const EXTENSION: Record<ContainerIommu, number> = { type1: 1, type1v2: 3, noiommu: 8 }
const EXTENSION_UNMAP_ALL = 9
const DMA_CC = 4 // VFIO_DMA_CC_IOMMU
const MAP_READ = 1
const MAP_WRITE = 2

export class ContainerBackend extends KernelSpace<Type1Info> {
  readonly mapCall = 'VFIO_IOMMU_MAP_DMA'
  readonly #wanted: 'auto' | ContainerIommu

  constructor(own: () => NativeHandle, wanted: 'auto' | ContainerIommu) {
    super(own, () => addon().containerChanges(own()))
    this.#wanted = wanted
  }

  get tag(): SpaceTag {
    return { backend: 'container', wanted: this.type }
  }

  get type(): ContainerIommu | undefined {
    return this.driver
  }

  /** The IOMMU driver that was set on the container; undefined while there is none. */
  get driver(): ContainerIommu | undefined {
    const set = addon().containerIommu(this.native())
    return CONTAINER_IOMMUS.find((type) => EXTENSION[type] === set)
  }

  get fd(): number {
    return addon().handleFd(this.native())
  }

  get cacheCoherent(): boolean | null {
    return this.driver === undefined ? null : addon().containerCheckExtension(this.native(), DMA_CC) > 0
  }

  info(): Type1Info {
    return decodeType1Info(attempt(unattached, () => addon().containerGetInfo(this.native())))
  }

  protected override placeable(): Type1Info {
    return this.info()
  }

  override geometry(): Geometry {
    // Another program set the space up and may go on doing so.
    return this.kept.changes === 0 ? this.info() : this.kept.get()
  }

  mapFlags(read: boolean, write: boolean): number {
    return (read ? MAP_READ : 0) | (write ? MAP_WRITE : 0)
  }

  mapOwned({ memory, offset, size }: Piece, iova: bigint, flags: number): Promise<NativeHandle> {
    return addon().containerMapDma(this.native(), memory.native, offset, size, iova, flags)
  }

  mapOwnedSync({ memory, offset, size }: Piece, iova: bigint, flags: number): NativeHandle {
    return addon().containerMapDmaSync(this.native(), memory.native, offset, size, iova, flags)
  }

  unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    return addon().containerUnmapDma(this.native(), iova, size)
  }

  unmapAll(): bigint {
    if (addon().containerCheckExtension(this.native(), EXTENSION_UNMAP_ALL) > 0) {
      return addon().containerUnmapAll(this.native())
    }
    let total = 0n
    for (const { start, last } of this.info().iovaRanges) {
      const size = last - start + 1n
      total += this.unmapSync(start, size > MAX_U64 ? MAX_U64 : size)
    }
    return total
  }

  dirtyTracking(): DirtyTracking {
    return new Type1DirtyTracking(this.native)
  }

  explainMap(error: VfioError, peer: boolean): VfioErrorContext {
    return { ...unattached(error), ...(peer ? peerContext(error) : {}) }
  }

  /** Puts a group in and sets the IOMMU driver if it is the first. */
  attachGroup(group: NativeHandle): void {
    const wanted: ContainerIommu[] = this.#wanted === 'auto' ? ['type1v2', 'type1'] : [this.#wanted]
    const drivers = wanted.map((type) => EXTENSION[type])
    attempt(
      (error) => (error.syscall === 'VFIO_SET_IOMMU' ? iommuContext(wanted, error) : {}),
      () => {
        addon().groupSetContainer(group, this.native(), drivers)
      },
    )
  }
}

function iommuContext(wanted: readonly ContainerIommu[], error: VfioError): VfioErrorContext {
  if (error.code === 'EOPNOTSUPP') {
    return {
      subject: wanted.join(' or '),
      reason: 'no-iommu-type',
      remedy: 'Load the module vfio_iommu_type1.',
    }
  }
  if (error.code === 'EPERM') {
    return {
      reason: 'unsafe-interrupts',
      remedy: unsafeInterrupts(readMachine(), 'vfio_iommu_type1'),
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
