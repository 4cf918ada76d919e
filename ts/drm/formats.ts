// The formats of pixels that DRM knows, as far as they are used here: four bytes each. Pure.

const fourCc = (code: string): number =>
  [0, 1, 2, 3].reduce((sum, at) => sum | (code.charCodeAt(at) << (8 * at)), 0) >>> 0

/** By the order of a pixel's bits, the highest first, as the kernel names them (`DRM_FORMAT_XRGB8888`). */
export const PIXEL_FORMATS = {
  xrgb8888: fourCc('XR24'),
  argb8888: fourCc('AR24'),
  xbgr8888: fourCc('XB24'),
  abgr8888: fourCc('AB24'),
  rgbx8888: fourCc('RX24'),
  rgba8888: fourCc('RA24'),
  bgrx8888: fourCc('BX24'),
  bgra8888: fourCc('BA24'),
} as const

export type PixelFormat = keyof typeof PIXEL_FORMATS

export const PIXEL_FORMAT_NAMES = Object.keys(PIXEL_FORMATS) as readonly PixelFormat[]

export function pixelFormatOf(number: number): PixelFormat | undefined {
  return PIXEL_FORMAT_NAMES.find((name) => PIXEL_FORMATS[name] === number)
}
