// Framebuffer: a buffer on a card as a picture that the card can show. Owns its id.
import { attempt } from '../errors.js'
import { Handle } from '../handle.js'
import { addon, type NativeHandle } from '../native/index.js'
import { integer, object } from '../validate.js'
import type { PixelFormat } from './formats.js'

/** A part of a picture, in pixels. */
export interface PictureArea {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

const MOST_EDGE = 65_535

export class Framebuffer extends Handle {
  readonly width: number
  readonly height: number
  readonly format: PixelFormat

  /** @internal */
  constructor(native: NativeHandle, width: number, height: number, format: PixelFormat) {
    super(native, `Framebuffer of ${width} x ${height}`)
    this.width = width
    this.height = height
    this.format = format
  }

  /**
   * Says that a part was painted while it is shown (DRM_IOCTL_MODE_DIRTYFB). Drivers that show memory as it is have nothing to
   * do; others, such as those of USB and of virtual screens, send it on.
   * @returns false where the driver has nothing to do, and says so
   */
  painted(area: PictureArea = { x: 0, y: 0, width: this.width, height: this.height }): boolean {
    const { x, y, width, height } = object(area, 'area')
    const left = integer(x, 'area.x', 0, this.width)
    const top = integer(y, 'area.y', 0, this.height)
    const right = left + integer(width, 'area.width', 0, this.width - left)
    const bottom = top + integer(height, 'area.height', 0, this.height - top)
    try {
      addon().drmFramebufferDirty(
        this.native,
        left,
        top,
        Math.min(right, MOST_EDGE),
        Math.min(bottom, MOST_EDGE),
      )
      return true
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOSYS') return false
      return attempt({ subject: this.label }, () => {
        throw error
      })
    }
  }

  /** Takes it off what shows it, which is then turned off. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
