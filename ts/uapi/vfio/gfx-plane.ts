// Reads the bytes of vfio_device_gfx_plane_info. Pure.

/** DRM_PLANE_TYPE_OVERLAY, DRM_PLANE_TYPE_PRIMARY, DRM_PLANE_TYPE_CURSOR, in the kernel's order. */
export const PLANE_TYPES = ['overlay', 'primary', 'cursor'] as const
export type GfxPlaneType = (typeof PLANE_TYPES)[number]

/** VFIO_GFX_PLANE_TYPE_PROBE, VFIO_GFX_PLANE_TYPE_DMABUF, VFIO_GFX_PLANE_TYPE_REGION */
export const PLANE_FLAG = { probe: 1, dmabuf: 2, region: 4 } as const

interface PlaneLayout {
  readonly type: GfxPlaneType
  /** The pixel format: a DRM fourcc code. */
  readonly format: number
  /** The same in letters, `XR24` for example. */
  readonly formatName: string
  /** The layout of pixels in memory: a DRM format modifier, 0n for rows. */
  readonly modifier: bigint
  /** Pixels. */
  readonly width: number
  /** Pixels. */
  readonly height: number
  /** Bytes from one row to the next. */
  readonly stride: number
  /** Bytes of the whole plane. */
  readonly size: number
  /** Where a cursor is, in pixels. */
  readonly x: number
  readonly y: number
  /** A cursor's hot spot, in pixels from its corner. */
  readonly hotX: number
  readonly hotY: number
}

/** A plane whose pixels are in a region of the device. */
export interface RegionPlane extends PlaneLayout {
  readonly kind: 'region'
  readonly regionIndex: number
}

/** A plane whose pixels are in a dma-buf, to be had by `device.gfx.dmabuf`. The same id is the same memory. */
export interface DmabufPlane extends PlaneLayout {
  readonly kind: 'dmabuf'
  readonly dmabufId: number
}

/** VFIO_DEVICE_QUERY_GFX_PLANE. */
export type GfxPlane = RegionPlane | DmabufPlane

function fourcc(code: number): string {
  return String.fromCharCode(code & 0xff, (code >> 8) & 0xff, (code >> 16) & 0xff, (code >> 24) & 0x7f)
}

/** The plane; null where nothing is shown. */
export function decodePlane(kind: GfxPlane['kind'], type: GfxPlaneType, bytes: Uint8Array): GfxPlane | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const word = (at: number): number => view.getUint32(at, true)
  const layout: PlaneLayout = {
    type,
    format: word(12),
    formatName: fourcc(word(12)),
    modifier: view.getBigUint64(16, true),
    width: word(24),
    height: word(28),
    stride: word(32),
    size: word(36),
    x: word(40),
    y: word(44),
    hotX: word(48),
    hotY: word(52),
  }
  if (layout.width === 0 || layout.height === 0) return null
  const id = word(56)
  return kind === 'region' ? { kind, ...layout, regionIndex: id } : { kind, ...layout, dmabufId: id }
}
