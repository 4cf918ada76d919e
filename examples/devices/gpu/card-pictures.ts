// Images that a card of the host can show as they are: in memory of its own, or in the guest's. It must not know drivers, nor what is
// shown.
import type { CardBuffer, DrmCard, Framebuffer, PixelFormat } from 'node-vfio/drm'

import { type GuestPages, gather } from '../virtio/queue.js'
import { type GuestPlace, type Picture, type PictureMemory } from './pictures.js'

/** What is shown of each format of virtio-gpu: a screen is not transparent, so alpha counts for nothing. */
const SHOWN: ReadonlyMap<number, PixelFormat> = new Map([
  [1, 'xrgb8888'],
  [2, 'xrgb8888'],
  [3, 'bgrx8888'],
  [4, 'bgrx8888'],
  [67, 'xbgr8888'],
  [68, 'rgbx8888'],
  [121, 'rgbx8888'],
  [134, 'xbgr8888'],
])

/** @throws RangeError for no format of virtio-gpu */
export function shownFormat(format: number): PixelFormat {
  const shown = SHOWN.get(format)
  if (shown === undefined) throw new RangeError(`there is no format ${format}`)
  return shown
}

/** A picture that a card knows, wherever its pixels are. */
export class CardPicture implements Picture {
  readonly buffer: CardBuffer
  readonly #read: () => Uint8Array
  #framebuffer: Framebuffer | undefined

  constructor(buffer: CardBuffer, read: () => Uint8Array) {
    this.buffer = buffer
    this.#read = read
  }

  get pixels(): Uint8Array {
    return this.#read()
  }

  get pitch(): number {
    return this.buffer.pitch
  }

  /** It as a picture that the card shows; made at first use. */
  framebuffer(format: number): Framebuffer {
    return (this.#framebuffer ??= this.buffer.framebuffer(shownFormat(format)))
  }

  close(): void {
    this.#framebuffer?.close()
    this.buffer.close()
  }
}

export class CardPictures implements PictureMemory {
  readonly #card: DrmCard

  constructor(card: DrmCard) {
    this.#card = card
  }

  create(width: number, height: number): CardPicture {
    const buffer = this.#card.createBuffer(width, height)
    try {
      const pixels = new Uint8Array(buffer.buffer)
      return new CardPicture(buffer, () => pixels)
    } catch (error) {
      buffer.close()
      throw error
    }
  }

  /** The guest's memory itself, by udmabuf: where the kernel has that, and the card takes it. */
  borrow(pages: GuestPages, { width, height, pitch, pieces, offset }: GuestPlace): CardPicture | undefined {
    if (pages.dmaBuf === undefined || offset !== 0) return undefined
    try {
      const file = pages.dmaBuf(
        BigUint64Array.from(pieces.flatMap(({ iova, length }) => [iova, BigInt(length)])),
      )
      try {
        const buffer = this.#card.importBuffer(file, { width, height, pitch })
        // Copied for who looks at it from here; the card does not.
        return new CardPicture(buffer, () => {
          const pixels = new Uint8Array(pitch * height)
          try {
            gather(pages, pieces, 0, pixels)
          } catch {
            // The client took the memory away; the card still shows it.
          }
          return pixels
        })
      } finally {
        file.close()
      }
    } catch {
      return undefined
    }
  }
}
