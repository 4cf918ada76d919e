// Where the pixels of a driver's images are: in this process, or wherever a `PictureMemory` puts them. It must not know drivers.
import { type GuestPages, type Piece } from '../virtio/queue.js'
import { PIXEL_BYTES } from './pixels.js'

/** One image's pixels, four bytes each. */
export interface Picture {
  readonly pixels: Uint8Array
  /** How far its rows are apart, in bytes. */
  readonly pitch: number
  close(): void
}

export interface PictureMemory {
  /** @throws where there is no room for it */
  create(width: number, height: number): Picture
  /**
   * A picture that is in the guest's own memory, without a copy. Memory that knows none has no such method.
   * @returns undefined where this memory cannot be had so; it is copied then
   */
  borrow?(pages: GuestPages, place: GuestPlace): Picture | undefined
}

/** A picture in a guest's memory. */
export interface GuestPlace {
  readonly width: number
  readonly height: number
  /** How far its rows are apart, in bytes. */
  readonly pitch: number
  readonly pieces: readonly Piece[]
  /** Where in the pieces it begins, in bytes. */
  readonly offset: number
}

export const processMemory: PictureMemory = {
  create(width, height) {
    const pitch = width * PIXEL_BYTES
    return { pixels: new Uint8Array(pitch * height), pitch, close: () => undefined }
  },
}
