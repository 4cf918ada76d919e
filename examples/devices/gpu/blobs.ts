// A blob: memory of the guest that is an image without a copy of it on this side, once the driver says how it is to be read. Every
// number is the driver's claim. It must not know queues.
import { type GuestPages, type Piece } from '../virtio/queue.js'
import { MOST_SIDE, Resource } from './image.js'
import { type PictureMemory } from './pictures.js'
import { PIXEL_BYTES, isFormat } from './pixels.js'
import { type Rectangle, Refusal, RESPONSE } from './protocol.js'

/** How a driver says that a blob is to be read. */
export interface BlobLayout {
  readonly width: number
  readonly height: number
  readonly format: number
  readonly pitch: number
  readonly offset: number
}

const isSame = (one: BlobLayout, other: BlobLayout): boolean =>
  one.width === other.width &&
  one.height === other.height &&
  one.format === other.format &&
  one.pitch === other.pitch &&
  one.offset === other.offset

export class Blob {
  readonly bytes: number
  readonly #pieces: readonly Piece[]
  #shown: { readonly layout: BlobLayout; readonly image: Resource; readonly copied: boolean } | undefined

  /** @throws Refusal where the pieces do not have so many bytes */
  constructor(pieces: readonly Piece[], bytes: number) {
    const sum = pieces.reduce((total, { length }) => total + length, 0)
    if (bytes === 0 || sum < bytes)
      throw new Refusal(RESPONSE.invalidParameter, `a blob of ${bytes} bytes in ${sum} bytes of memory`)
    this.bytes = bytes
    this.#pieces = pieces
  }

  /** It as an image: the same one for the same layout. */
  image(layout: BlobLayout, pages: GuestPages, memory: PictureMemory): Resource {
    this.#check(layout)
    if (this.#shown !== undefined && isSame(this.#shown.layout, layout)) return this.#shown.image
    const { width, height, format, pitch, offset } = layout
    const place = { width, height, pitch, offset, pieces: this.#pieces }
    const borrowed = memory.borrow?.(pages, place)
    const picture = borrowed ?? memory.create(width, height)
    const image = new Resource(width, height, format, picture, pitch)
    this.close()
    image.attach(this.#pieces)
    this.#shown = { layout, image, copied: borrowed === undefined }
    return image
  }

  /** Brings what is shown up to date, where that is a copy. */
  refresh(pages: GuestPages, area: Rectangle): void {
    if (this.#shown?.copied !== true) return
    const { image, layout } = this.#shown
    image.transfer(pages, area, BigInt(layout.offset + area.y * layout.pitch + area.x * PIXEL_BYTES))
  }

  close(): void {
    this.#shown?.image.picture.close()
    this.#shown = undefined
  }

  #check({ width, height, format, pitch, offset }: BlobLayout): void {
    if (!isFormat(format) || width === 0 || height === 0 || width > MOST_SIDE || height > MOST_SIDE)
      throw new Refusal(RESPONSE.invalidParameter, `an image of ${width} x ${height} in format ${format}`)
    if (pitch < width * PIXEL_BYTES || pitch % PIXEL_BYTES !== 0)
      throw new Refusal(RESPONSE.invalidParameter, `rows of ${width} pixels ${pitch} bytes apart`)
    if (offset + pitch * (height - 1) + width * PIXEL_BYTES > this.bytes)
      throw new Refusal(RESPONSE.invalidParameter, `the blob has ${this.bytes} bytes`)
  }
}
