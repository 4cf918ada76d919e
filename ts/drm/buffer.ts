// CardBuffer: memory that a DRM card can show: of the card's own, or of others, by their dma-buf. Owns the card's number for it.
import { attempt } from '../errors.js'
import { Handle } from '../handle.js'
import { DmaBufFile } from '../memory/dma-buf-file.js'
import { addon, type NativeHandle } from '../native/index.js'
import { integer, oneOf } from '../validate.js'
import { PIXEL_FORMAT_NAMES, PIXEL_FORMATS, type PixelFormat } from './formats.js'
import { Framebuffer } from './framebuffer.js'

const BYTES_PER_PIXEL = 4

export class CardBuffer extends Handle {
  /** In pixels. */
  readonly width: number
  readonly height: number
  /** How far the rows are apart, in bytes. */
  readonly pitch: number
  /** Bytes. */
  readonly size: number
  #buffer: ArrayBuffer | undefined

  /** @internal */
  constructor(native: NativeHandle, width: number, height: number, pitch: number) {
    super(native, `CardBuffer of ${width} x ${height}`)
    const { size, pitch: own } = addon().drmBufferInfo(native)
    this.width = width
    this.height = height
    this.pitch = own === 0 ? pitch : own
    this.size = size
  }

  /**
   * Its pixels, the same ArrayBuffer at every call. The memory may be slow to read; write to it in order.
   * @throws VfioError for memory of others, which the card does not show to processes
   */
  get buffer(): ArrayBuffer {
    if (this.#buffer === undefined || this.closed)
      this.#buffer = attempt({ subject: this.label }, () => addon().drmBufferWindow(this.native))
    return this.#buffer
  }

  /** It as a dma-buf, for other programs and devices: a descriptor that can be sent to them. */
  dmaBuf(): DmaBufFile {
    return DmaBufFile.fromFd(attempt({ subject: this.label }, () => addon().drmBufferShare(this.native)))
  }

  /**
   * It as a picture.
   * @throws VfioError EINVAL for a format that the card does not show, or rows that do not fit
   */
  framebuffer(format: PixelFormat = 'xrgb8888'): Framebuffer {
    const { width, height, pitch } = this
    oneOf(format, 'format', PIXEL_FORMAT_NAMES)
    const native = attempt({ subject: `${this.label} in ${format}` }, () =>
      addon().drmFramebufferAdd(this.native, width, height, PIXEL_FORMATS[format], pitch),
    )
    return new Framebuffer(native, width, height, format)
  }

  /** Detaches the pixels and gives the memory back once nothing shows it. Idempotent. */
  close(): void {
    this.closeNow()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

const MOST_SIDE = 65_535

/** A size in pixels, of four bytes each. @internal */
export function checkSize(width: number, height: number): void {
  integer(width, 'width', 1, MOST_SIDE)
  integer(height, 'height', 1, MOST_SIDE)
}

/** How far rows are apart, in bytes: at least as far as they are long. @internal */
export function checkPitch(pitch: number, width: number): number {
  return integer(pitch, 'pitch', width * BYTES_PER_PIXEL, 2 ** 31)
}
