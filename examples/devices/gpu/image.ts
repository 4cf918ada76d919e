// An image of a driver: its pixels on this side, the guest's memory behind them, and the copies from there to here. Every number is
// the driver's claim. It must not know queues.
import { type GuestPages, type Piece, gather } from '../virtio/queue.js'
import { type Picture } from './pictures.js'
import { PIXEL_BYTES } from './pixels.js'
import { type Rectangle, Refusal, RESPONSE } from './protocol.js'

export const MOST_SIDE = 16_384

/** @throws Refusal where the rectangle is not within the image */
export function checkWithin(
  { x, y, width, height }: Rectangle,
  image: { readonly width: number; readonly height: number },
): void {
  if (x + width > image.width || y + height > image.height)
    throw new Refusal(
      RESPONSE.invalidParameter,
      `${width} x ${height} at ${x}, ${y} is not within an image of ${image.width} x ${image.height}`,
    )
}

export class Resource {
  readonly width: number
  readonly height: number
  readonly format: number
  readonly picture: Picture
  /** How far rows are apart in the guest's memory, in bytes. */
  readonly #stride: number
  #backing: readonly Piece[] = []
  #backingBytes = 0

  constructor(width: number, height: number, format: number, picture: Picture, stride = width * PIXEL_BYTES) {
    this.width = width
    this.height = height
    this.format = format
    this.picture = picture
    this.#stride = stride
  }

  /** What its pixels take, as they are counted. */
  get bytes(): number {
    return this.width * this.height * PIXEL_BYTES
  }

  /** @throws Refusal where the rectangle is not within the image */
  check(rectangle: Rectangle): void {
    checkWithin(rectangle, this)
  }

  attach(pieces: readonly Piece[]): void {
    if (this.#backing.length > 0) throw new Refusal(RESPONSE.unspecified, 'the image has memory already')
    this.#backing = pieces
    this.#backingBytes = pieces.reduce((sum, { length }) => sum + length, 0)
  }

  detach(): void {
    this.#backing = []
    this.#backingBytes = 0
  }

  /**
   * Copies a rectangle out of the guest's memory.
   * @param offset where in the memory its first row begins; rows are as far apart as the image's
   */
  transfer(pages: GuestPages, rectangle: Rectangle, offset: bigint): void {
    this.check(rectangle)
    const { x, y, width, height } = rectangle
    if (width === 0 || height === 0) return
    const stride = this.#stride
    const rowBytes = width * PIXEL_BYTES
    const last = offset + BigInt((height - 1) * stride + rowBytes)
    if (last > BigInt(this.#backingBytes))
      throw new Refusal(RESPONSE.invalidParameter, `the image has ${this.#backingBytes} bytes of memory`)
    const start = Number(offset)
    const { pixels, pitch } = this.picture
    const to = y * pitch + x * PIXEL_BYTES
    // Whole rows may lie one after another, here and there.
    if (width === this.width && pitch === stride && stride === rowBytes) {
      gather(pages, this.#backing, start, pixels.subarray(to, to + height * stride))
      return
    }
    for (let row = 0; row < height; row++) {
      const at = to + row * pitch
      gather(pages, this.#backing, start + row * stride, pixels.subarray(at, at + rowBytes))
    }
  }
}
