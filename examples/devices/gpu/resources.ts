// The images that a driver makes: their pixels on this side, the guest's memory behind them, and the copies from there to here. Every
// number is the driver's claim. It must not know queues.
import { type GuestPages, type Piece, gather } from '../virtio/queue.js'
import { type Picture, type PictureMemory, processMemory } from './pictures.js'
import { PIXEL_BYTES, isFormat } from './pixels.js'
import { type Rectangle, Refusal, RESPONSE } from './protocol.js'

const MOST_SIDE = 16_384
/** Bytes of all images together: enough for some screens of 4K. */
const MOST_BYTES = 256 << 20
const MOST_PIECES = 16_384
/** Each may take a mapping, and memory in whole pages. */
const MOST_IMAGES = 4096

export class Resource {
  readonly width: number
  readonly height: number
  readonly format: number
  readonly picture: Picture
  #backing: readonly Piece[] = []
  #backingBytes = 0

  constructor(width: number, height: number, format: number, picture: Picture) {
    this.width = width
    this.height = height
    this.format = format
    this.picture = picture
  }

  /** What its pixels take, as they are counted. */
  get bytes(): number {
    return this.width * this.height * PIXEL_BYTES
  }

  /** @throws Refusal where the rectangle is not within the image */
  check({ x, y, width, height }: Rectangle): void {
    if (x + width > this.width || y + height > this.height)
      throw new Refusal(
        RESPONSE.invalidParameter,
        `${width} x ${height} at ${x}, ${y} is not within an image of ${this.width} x ${this.height}`,
      )
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
    const stride = this.width * PIXEL_BYTES
    const rowBytes = width * PIXEL_BYTES
    const last = offset + BigInt((height - 1) * stride + rowBytes)
    if (last > BigInt(this.#backingBytes))
      throw new Refusal(RESPONSE.invalidParameter, `the image has ${this.#backingBytes} bytes of memory`)
    const start = Number(offset)
    const { pixels, pitch } = this.picture
    const to = y * pitch + x * PIXEL_BYTES
    // Whole rows may lie one after another, here and there.
    if (width === this.width && pitch === stride) {
      gather(pages, this.#backing, start, pixels.subarray(to, to + height * stride))
      return
    }
    for (let row = 0; row < height; row++) {
      const at = to + row * pitch
      gather(pages, this.#backing, start + row * stride, pixels.subarray(at, at + rowBytes))
    }
  }
}

export class Resources {
  readonly #memory: PictureMemory
  readonly #all = new Map<number, Resource>()
  #bytes = 0

  constructor(memory: PictureMemory = processMemory) {
    this.#memory = memory
  }

  create(id: number, width: number, height: number, format: number): void {
    if (id === 0 || this.#all.has(id)) throw new Refusal(RESPONSE.invalidResource, `image ${id} is not free`)
    if (!isFormat(format) || width === 0 || height === 0 || width > MOST_SIDE || height > MOST_SIDE)
      throw new Refusal(RESPONSE.invalidParameter, `an image of ${width} x ${height} in format ${format}`)
    const bytes = width * height * PIXEL_BYTES
    if (this.#bytes + bytes > MOST_BYTES || this.#all.size >= MOST_IMAGES)
      throw new Refusal(
        RESPONSE.outOfMemory,
        `more than ${MOST_IMAGES} images, or images of more than ${MOST_BYTES} bytes`,
      )
    this.#all.set(id, new Resource(width, height, format, this.#picture(width, height)))
    this.#bytes += bytes
  }

  get(id: number): Resource {
    const resource = this.#all.get(id)
    if (resource === undefined) throw new Refusal(RESPONSE.invalidResource, `there is no image ${id}`)
    return resource
  }

  drop(id: number): Resource {
    const resource = this.get(id)
    this.#all.delete(id)
    this.#bytes -= resource.bytes
    resource.picture.close()
    return resource
  }

  clear(): void {
    for (const { picture } of this.#all.values()) picture.close()
    this.#all.clear()
    this.#bytes = 0
  }

  #picture(width: number, height: number): Picture {
    try {
      return this.#memory.create(width, height)
    } catch (error) {
      throw new Refusal(RESPONSE.outOfMemory, error instanceof Error ? error.message : String(error))
    }
  }
}

/** @throws Refusal for more pieces than are kept */
export function checkPieces(count: number): void {
  if (count === 0 || count > MOST_PIECES)
    throw new Refusal(RESPONSE.invalidParameter, `memory in ${count} pieces`)
}
