// Images whose pixels are on a card of the host, which can show them as they are. It must not know drivers, nor what is shown.
import type { CardBuffer, DrmCard, Framebuffer, PixelFormat } from 'node-vfio/drm'

import { type Picture, type PictureMemory } from './pictures.js'

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

export class CardPicture implements Picture {
  readonly buffer: CardBuffer
  readonly pixels: Uint8Array
  #framebuffer: Framebuffer | undefined

  constructor(buffer: CardBuffer) {
    this.buffer = buffer
    this.pixels = new Uint8Array(buffer.buffer)
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
      return new CardPicture(buffer)
    } catch (error) {
      buffer.close()
      throw error
    }
  }
}
