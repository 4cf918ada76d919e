// Where the pixels of a driver's images are: in this process, or wherever a `PictureMemory` puts them. It must not know drivers.
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
}

export const processMemory: PictureMemory = {
  create(width, height) {
    const pitch = width * PIXEL_BYTES
    return { pixels: new Uint8Array(pitch * height), pitch, close: () => undefined }
  },
}
