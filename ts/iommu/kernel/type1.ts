// The container backend of an AddressSpace: VFIO's own type1, its form in iommufd's compatibility mode, and no-IOMMU.
import { type VfioError, type VfioErrorContext, attempt } from '../../errors.js'
import { addon, type NativeHandle } from '../../native/index.js'
import { readMachine } from '../../host/machine.js'
import { noContainerNodeRemedy, noIommufdNode, unsafeInterrupts } from '../../host/remedies.js'
import { MAX_U64 } from '../../validate.js'
import type { Geometry, IommuType, Piece, SpaceBackend } from '../backend.js'
import { DmaCalls } from './dma-calls.js'
import { type DirtyTracking, Type1DirtyTracking } from '../dirty-tracking.js'
import { KeptGeometry } from './kept-geometry.js'
import { peerContext } from '../../memory/peer-memory.js'
import { type Type1Info, decodeType1Info } from '../../uapi/vfio/type1-info.js'

/** What can be set on a container. */
export type ContainerIommu = Exclude<IommuType, 'iommufd'>

/** Who answers the container's calls. */
export type ContainerKind = 'vfio' | 'iommufd'

const CONTAINER_NODE: Record<ContainerKind, string> = { vfio: 'vfio/vfio', iommufd: 'iommu' }
const EXTENSION: Record<ContainerIommu, number> = { type1: 1, type1v2: 3, noiommu: 8 }
const MAP_READ = 1
const MAP_WRITE = 2
const EXTENSION_UNMAP_ALL = 9
const DMA_CC = 4 // VFIO_DMA_CC_IOMMU

/** Opens a container. */
export function openContainer(container: ContainerKind, devRoot: string): NativeHandle {
  const path = `${devRoot}/${CONTAINER_NODE[container]}`
  return attempt(
    (error) => containerContext(path, container, error),
    () => addon().containerOpen(path),
  )
}

/** Takes over a container, on which `iommu` was set where it comes from. */
export function adoptContainer(fd: number, iommu: ContainerIommu | undefined): NativeHandle {
  return addon().containerFromFd(fd, iommu === undefined ? 0 : EXTENSION[iommu])
}

export class ContainerBackend implements SpaceBackend {
  readonly mapCall = 'VFIO_IOMMU_MAP_DMA'
  readonly confines: boolean = true
  readonly #native: () => NativeHandle
  readonly #wanted: 'auto' | ContainerIommu
  readonly #calls: DmaCalls
  readonly #geometry: KeptGeometry<Type1Info>

  constructor(native: () => NativeHandle, wanted: 'auto' | ContainerIommu) {
    this.#native = native
    this.#calls = new DmaCalls(native)
    this.#geometry = new KeptGeometry(
      () => this.info(),
      () => addon().containerChanges(native()),
    )
    this.#wanted = wanted
  }

  get type(): ContainerIommu | undefined {
    return this.driver
  }

  /** The IOMMU driver that was set on the container; undefined while there is none. */
  get driver(): ContainerIommu | undefined {
    const set = addon().containerIommu(this.#native())
    return (Object.keys(EXTENSION) as ContainerIommu[]).find((type) => EXTENSION[type] === set)
  }

  get fd(): number {
    return addon().handleFd(this.#native())
  }

  info(): Type1Info {
    return decodeType1Info(attempt(unattached, () => addon().containerGetInfo(this.#native())))
  }

  geometry(): Geometry {
    // Another program set the space up and may go on doing so.
    return this.#geometry.changes === 0 ? this.info() : this.#geometry.get()
  }

  forgetGeometry(): void {
    this.#geometry.drop()
  }

  mapFlags(read: boolean, write: boolean): number {
    return (read ? MAP_READ : 0) | (write ? MAP_WRITE : 0)
  }

  mapOwnedSync({ memory, offset, size }: Piece, iova: bigint, flags: number): NativeHandle {
    return addon().containerMapDmaSync(this.#native(), memory.native, offset, size, iova, flags)
  }

  mapOwned({ memory, offset, size }: Piece, iova: bigint, flags: number): Promise<NativeHandle> {
    return addon().containerMapDma(this.#native(), memory.native, offset, size, iova, flags)
  }

  mapSync(piece: Piece, iova: bigint, flags: number): void {
    this.#calls.map(piece, iova, flags)
  }

  unmap(iova: bigint, size: number | bigint): Promise<bigint> {
    return addon().containerUnmapDma(this.#native(), iova, size)
  }

  unmapSync(iova: bigint, size: number | bigint): bigint {
    return this.#calls.unmap(iova, size)
  }

  unmapAll(): bigint {
    if (addon().containerCheckExtension(this.#native(), EXTENSION_UNMAP_ALL) > 0) {
      return addon().containerUnmapAll(this.#native())
    }
    let total = 0n
    for (const { start, last } of this.info().iovaRanges) {
      const size = last - start + 1n
      total += this.unmapSync(start, size > MAX_U64 ? MAX_U64 : size)
    }
    return total
  }

  get cacheCoherent(): boolean | null {
    return this.driver === undefined ? null : addon().containerCheckExtension(this.#native(), DMA_CC) > 0
  }

  dirtyTracking(): DirtyTracking {
    return new Type1DirtyTracking(this.#native)
  }

  explainMap(error: VfioError, peer: boolean): VfioErrorContext {
    return { ...unattached(error), ...(peer ? peerContext(error) : {}) }
  }

  close(): void {
    // A container is all there is.
  }

  /** Puts a group in and sets the IOMMU driver if it is the first. */
  attachGroup(group: NativeHandle): void {
    const wanted: ContainerIommu[] = this.#wanted === 'auto' ? ['type1v2', 'type1'] : [this.#wanted]
    const drivers = wanted.map((type) => EXTENSION[type])
    attempt(
      (error) => (error.syscall === 'VFIO_SET_IOMMU' ? iommuContext(wanted, error) : {}),
      () => {
        addon().groupSetContainer(group, this.#native(), drivers)
      },
    )
  }
}

function containerContext(path: string, container: ContainerKind, error: VfioError): VfioErrorContext {
  if (container === 'iommufd') return iommufdContext(path, error)
  if (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'ENXIO') {
    return {
      subject: path,
      reason: 'no-vfio-module',
      remedy: noContainerNodeRemedy(readMachine()),
    }
  }
  return permissionContext(path, error)
}

/** What the errno of opening /dev/iommu means. */
export function iommufdContext(path: string, error: VfioError): VfioErrorContext {
  if (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'ENXIO') {
    return {
      subject: path,
      reason: 'no-iommufd',
      remedy: `${noIommufdNode(readMachine())} VFIO's container does without.`,
    }
  }
  return permissionContext(path, error)
}

function permissionContext(path: string, error: VfioError): VfioErrorContext {
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return {
      subject: path,
      reason: 'permission',
      remedy: `Run as root, or give yourself access to ${path}.`,
    }
  }
  return { subject: path }
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
