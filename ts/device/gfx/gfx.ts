// DeviceGfx: the display of a mediated device: its planes, and the monitor that its guest sees.
import { VfioError, type VfioErrorContext, attempt } from '../../errors.js'
import { DmaBufFile } from '../../memory/dma-buf-file.js'
import { bytes as bytesOf, integer, object, oneOf } from '../../validate.js'
import type { KernelDevice } from '../backend.js'
import { type DeviceCore, kernelOf } from '../core.js'
import type { RegionTable } from '../region-table.js'
import { GfxEdid, isEdidRegion } from './edid.js'
import {
  type GfxPlane,
  type GfxPlaneType,
  PLANE_FLAG,
  PLANE_TYPES,
  type RegionPlane,
  decodePlane,
} from './plane.js'

/** In which forms a device shows its planes. */
export interface GfxPlaneKinds {
  /** VFIO_GFX_PLANE_TYPE_REGION: pixels in a region. */
  readonly region: boolean
  /** VFIO_GFX_PLANE_TYPE_DMABUF: pixels in a dma-buf. */
  readonly dmabuf: boolean
}

function probe(kernel: KernelDevice, flag: number): boolean {
  try {
    kernel.queryPlane(PLANE_FLAG.probe | flag, 0)
    return true
  } catch (error) {
    // ENOTTY: no display. EINVAL: not in this form. ENODEV: its display is off.
    if (error instanceof VfioError && ['ENOTTY', 'EINVAL', 'ENODEV'].includes(error.code)) return false
    throw error
  }
}

const QUERY = 'VFIO_DEVICE_QUERY_GFX_PLANE'

/** The forms of planes that a device has; undefined for one without a display. @internal */
export function probeGfx({ backend: { kernel } }: DeviceCore): GfxPlaneKinds | undefined {
  if (kernel === undefined) return undefined
  const region = probe(kernel, PLANE_FLAG.region)
  const dmabuf = probe(kernel, PLANE_FLAG.dmabuf)
  return region || dmabuf ? { region, dmabuf } : undefined
}

/** The display of a device (VFIO_DEVICE_QUERY_GFX_PLANE, Linux 4.16). */
export class DeviceGfx {
  /** In which forms the device shows its planes. */
  readonly kinds: GfxPlaneKinds
  readonly #device: DeviceCore
  readonly #regions: RegionTable
  #edid: GfxEdid | null | undefined

  /** @internal */
  constructor(device: DeviceCore, regions: RegionTable, kinds: GfxPlaneKinds) {
    this.#device = device
    this.#regions = regions
    this.kinds = kinds
  }

  /**
   * What a plane shows now (VFIO_DEVICE_QUERY_GFX_PLANE): ask before every frame. A device that has both forms is asked
   * for the dma-buf.
   * @param type `primary` by default
   * @returns null while the plane shows nothing
   */
  plane(type: GfxPlaneType = 'primary'): GfxPlane | null {
    oneOf(type, 'type', PLANE_TYPES)
    const kind = this.kinds.dmabuf ? 'dmabuf' : 'region'
    const query = (): Uint8Array =>
      kernelOf(this.#device, QUERY).queryPlane(PLANE_FLAG[kind], PLANE_TYPES.indexOf(type))
    const subject = `${type} plane of ${this.#device.label}`
    return decodePlane(
      kind,
      type,
      attempt({ subject }, () => onceMore(query)),
    )
  }

  /**
   * The memory behind a dma-buf plane (VFIO_DEVICE_GET_GFX_DMABUF, Linux 4.16), for those who import dma-bufs. Close it
   * once the plane has another id.
   * @param id `dmabufId` of the plane
   * @throws VfioError ENOENT or EINVAL for an id that is no longer shown
   */
  dmabuf(id: number): DmaBufFile {
    integer(id, 'id', 0, 0xffff_ffff)
    const subject = `dma-buf ${String(id)} of ${this.#device.label}`
    const native = attempt(
      ({ code }): VfioErrorContext =>
        code === 'ENOENT' || code === 'EINVAL'
          ? {
              subject,
              remedy: 'No plane has this id (any more): query the plane, then ask for its dmabufId.',
            }
          : { subject },
      () => kernelOf(this.#device, 'VFIO_DEVICE_GET_GFX_DMABUF').planeDmaBuf(id),
    )
    return new DmaBufFile(native, subject)
  }

  /**
   * The pixels of a region plane: its rows, each `stride` bytes.
   * @param plane from `plane()`
   * @param target where they go (default: a new array), `stride * height` bytes at least
   */
  frame(plane: RegionPlane, target?: Uint8Array): Uint8Array {
    const { kind, stride, height, regionIndex } = object(plane, 'plane')
    if ((kind as unknown) !== 'region')
      throw new TypeError('plane must be a region plane; a dma-buf plane is for those who import dma-bufs')
    const region = this.#regions.get(regionIndex)
    const length = integer(stride * height, 'stride * height', 0, region.size)
    const pixels = target ?? new Uint8Array(length)
    const { byteLength } = bytesOf(pixels, 'target')
    integer(byteLength, 'target.byteLength', length, Number.MAX_SAFE_INTEGER)
    region.read(0, pixels.subarray(0, length))
    return pixels
  }

  /** The monitor that the guest sees; undefined where the device has no EDID region. */
  get edid(): GfxEdid | undefined {
    if (this.#edid === undefined) {
      const region = this.#regions.all().find(({ capabilities }) => isEdidRegion(capabilities))
      this.#edid = region === undefined ? null : new GfxEdid(region)
    }
    return this.#edid ?? undefined
  }
}

/**
 * The kernel's sample display with dma-bufs (mbochs) fails the first query after each mode set with ENOMEM, although it
 * made the plane: the second one finds it. An ENOMEM that is meant comes again.
 */
function onceMore(query: () => Uint8Array): Uint8Array {
  try {
    return query()
  } catch (error) {
    if (!(error instanceof VfioError) || error.code !== 'ENOMEM') throw error
    return query()
  }
}
