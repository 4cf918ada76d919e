// The images that a driver has made, by its numbers for them, and how much of them there may be. Every number is the driver's claim. It
// must not know queues.
import { type GuestPages, type Piece } from '../virtio/queue.js'
import { Blob, type BlobLayout } from './blobs.js'
import { MOST_SIDE, Resource } from './image.js'
import { type PictureMemory, processMemory } from './pictures.js'
import { PIXEL_BYTES, isFormat } from './pixels.js'
import { Refusal, RESPONSE } from './protocol.js'

/** Bytes of all images together: enough for some screens of 4K. */
const MOST_BYTES = 256 << 20
const MOST_PIECES = 16_384
/** Each may take a mapping, and memory in whole pages. */
const MOST_IMAGES = 4096

export class Resources {
  readonly #memory: PictureMemory
  readonly #all = new Map<number, Resource>()
  readonly #blobs = new Map<number, Blob>()
  #bytes = 0

  constructor(memory: PictureMemory = processMemory) {
    this.#memory = memory
  }

  create(id: number, width: number, height: number, format: number): void {
    this.#checkFree(id)
    if (!isFormat(format) || width === 0 || height === 0 || width > MOST_SIDE || height > MOST_SIDE)
      throw new Refusal(RESPONSE.invalidParameter, `an image of ${width} x ${height} in format ${format}`)
    const bytes = width * height * PIXEL_BYTES
    this.#checkRoom(bytes)
    const picture = withRoom(() => this.#memory.create(width, height))
    this.#all.set(id, new Resource(width, height, format, picture))
    this.#bytes += bytes
  }

  createBlob(id: number, pieces: readonly Piece[], bytes: number): void {
    this.#checkFree(id)
    // It may be copied once it is shown.
    this.#checkRoom(bytes)
    this.#blobs.set(id, new Blob(pieces, bytes))
    this.#bytes += bytes
  }

  /** The blob of that number, if it is one. */
  blob(id: number): Blob | undefined {
    return this.#blobs.get(id)
  }

  /** A blob as an image. @throws Refusal where there is none, or it cannot be read so */
  imageOf(id: number, layout: BlobLayout, pages: GuestPages): Resource {
    const blob = this.#blobs.get(id)
    if (blob === undefined) throw new Refusal(RESPONSE.invalidResource, `there is no blob ${id}`)
    return withRoom(() => blob.image(layout, pages, this.#memory))
  }

  get(id: number): Resource {
    const resource = this.#all.get(id)
    if (resource === undefined) throw new Refusal(RESPONSE.invalidResource, `there is no image ${id}`)
    return resource
  }

  drop(id: number): void {
    const blob = this.#blobs.get(id)
    if (blob !== undefined) {
      this.#blobs.delete(id)
      this.#bytes -= blob.bytes
      blob.close()
      return
    }
    const resource = this.get(id)
    this.#all.delete(id)
    this.#bytes -= resource.bytes
    resource.picture.close()
  }

  clear(): void {
    for (const { picture } of this.#all.values()) picture.close()
    for (const blob of this.#blobs.values()) blob.close()
    this.#all.clear()
    this.#blobs.clear()
    this.#bytes = 0
  }

  #checkFree(id: number): void {
    if (id === 0 || this.#all.has(id) || this.#blobs.has(id))
      throw new Refusal(RESPONSE.invalidResource, `image ${id} is not free`)
  }

  #checkRoom(bytes: number): void {
    if (this.#bytes + bytes > MOST_BYTES || this.#all.size + this.#blobs.size >= MOST_IMAGES)
      throw new Refusal(
        RESPONSE.outOfMemory,
        `more than ${MOST_IMAGES} images, or images of more than ${MOST_BYTES} bytes`,
      )
  }
}

/** What has no room is a refusal to the driver. */
function withRoom<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal(RESPONSE.outOfMemory, error instanceof Error ? error.message : String(error))
  }
}

/** @throws Refusal for more pieces than are kept */
export function checkPieces(count: number): void {
  if (count === 0 || count > MOST_PIECES)
    throw new Refusal(RESPONSE.invalidParameter, `memory in ${count} pieces`)
}
