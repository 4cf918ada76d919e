// Pixels as virtio-gpu orders them, four bytes each, and the frame that a screen shows of them. It must not know where they come
// from.

/** Where red, green and blue are in a pixel, by the number of the format (enum virtio_gpu_formats). */
const FORMATS: ReadonlyMap<number, readonly [red: number, green: number, blue: number]> = new Map([
  [1, [2, 1, 0]], // B8G8R8A8
  [2, [2, 1, 0]], // B8G8R8X8
  [3, [1, 2, 3]], // A8R8G8B8
  [4, [1, 2, 3]], // X8R8G8B8
  [67, [0, 1, 2]], // R8G8B8A8
  [68, [3, 2, 1]], // X8B8G8R8
  [121, [3, 2, 1]], // A8B8G8R8
  [134, [0, 1, 2]], // R8G8B8X8
])

export const PIXEL_BYTES = 4

export function isFormat(format: number): boolean {
  return FORMATS.has(format)
}

/** What a screen shows at a moment: red, green and blue of each pixel, row by row. */
export interface Frame {
  readonly width: number
  readonly height: number
  readonly rgb: Uint8Array
}

/** A part of an image whose rows are `pitch` bytes apart, as a frame of its own. */
export function frameOf(
  pixels: Uint8Array,
  format: number,
  pitch: number,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
): Frame {
  const order = FORMATS.get(format)
  if (order === undefined) throw new RangeError(`there is no format ${format}`)
  const [red, green, blue] = order
  const rgb = new Uint8Array(width * height * 3)
  let to = 0
  for (let row = y; row < y + height; row++) {
    let from = row * pitch + x * PIXEL_BYTES
    for (let column = 0; column < width; column++, from += PIXEL_BYTES) {
      rgb[to++] = pixels[from + red] ?? 0
      rgb[to++] = pixels[from + green] ?? 0
      rgb[to++] = pixels[from + blue] ?? 0
    }
  }
  return { width, height, rgb }
}

/** The colour of one pixel, as 0xrrggbb. */
export function colourAt({ width, rgb }: Frame, x: number, y: number): number {
  const at = (y * width + x) * 3
  return ((rgb[at] ?? 0) << 16) | ((rgb[at + 1] ?? 0) << 8) | (rgb[at + 2] ?? 0)
}
