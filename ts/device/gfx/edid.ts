// GfxEdid: the monitor that a virtual display believes to have, in its EDID region.
import { integer, bytes as bytesOf, boolean } from '../../validate.js'
import type { RegionCapability } from '../../uapi/vfio/device-info.js'
import type { Region } from '../region.js'

/** VFIO_REGION_TYPE_GFX, VFIO_REGION_SUBTYPE_GFX_EDID */
const TYPE_GFX = 1
const SUBTYPE_EDID = 1

/** Offsets in struct vfio_region_gfx_edid. */
const EDID_OFFSET = 0
const EDID_MAX_SIZE = 4
const EDID_SIZE = 8
const MAX_XRES = 12
const MAX_YRES = 16
const LINK_STATE = 20

/** VFIO_DEVICE_GFX_LINK_STATE_UP, VFIO_DEVICE_GFX_LINK_STATE_DOWN */
const LINK_UP = 1
const LINK_DOWN = 2

/** The size of an EDID block: an EDID is one or more of them. */
const BLOCK = 128

export function isEdidRegion(capabilities: readonly RegionCapability[]): boolean {
  return capabilities.some(
    (each) => each.name === 'type' && each.type === TYPE_GFX && each.subtype === SUBTYPE_EDID,
  )
}

/** The EDID of a virtual display and the state of its link (VFIO_REGION_SUBTYPE_GFX_EDID, Linux 4.20). */
export class GfxEdid {
  readonly #region: Region

  /** @internal */
  constructor(region: Region) {
    this.#region = region
  }

  /** The most bytes that an EDID may have. */
  get maxSize(): number {
    return this.#region.read32(EDID_MAX_SIZE)
  }

  /** The largest width that the device can show, in pixels; 0 where it does not say. */
  get maxWidth(): number {
    return this.#region.read32(MAX_XRES)
  }

  /** The largest height, in pixels; 0 where it does not say. */
  get maxHeight(): number {
    return this.#region.read32(MAX_YRES)
  }

  /** Whether a monitor is plugged in, as the guest sees it. */
  get linkUp(): boolean {
    return this.#region.read32(LINK_STATE) === LINK_UP
  }
  set linkUp(up: boolean) {
    this.#region.write32(LINK_STATE, boolean(up, 'linkUp') ? LINK_UP : LINK_DOWN)
  }

  /** The EDID as last written; empty where none was. */
  read(): Uint8Array {
    const { size, at } = this.#blob()
    const edid = new Uint8Array(size)
    this.#region.read(at, edid)
    return edid
  }

  /**
   * Plugs in another monitor: takes the link down, writes the EDID and takes the link up, for which the guest reads it.
   * @param edid blocks of 128 bytes, `maxSize` bytes at most
   */
  write(edid: ArrayBufferView): void {
    const bytes = bytesOf(edid, 'edid')
    integer(bytes.byteLength, 'edid.byteLength', BLOCK, this.maxSize)
    if (bytes.byteLength % BLOCK !== 0)
      throw new RangeError(`edid must be blocks of ${String(BLOCK)} bytes, not ${String(bytes.byteLength)}`)
    this.linkUp = false
    this.#region.write(this.#region.read32(EDID_OFFSET), bytes)
    this.#region.write32(EDID_SIZE, bytes.byteLength)
    this.linkUp = true
  }

  #blob(): { size: number; at: number } {
    return { size: this.#region.read32(EDID_SIZE), at: this.#region.read32(EDID_OFFSET) }
  }
}
