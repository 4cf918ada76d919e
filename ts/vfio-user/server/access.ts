// An access to a region as a client makes it, of any length and alignment, in accesses as regions take them: aligned, of 1, 2, 4 or
// 8 bytes. The path of a register: what has one of these lengths and is answered at once allocates nothing.
import type { AccessWidth, RegisterValue } from './options.js'
import type { ServedRegion } from './region.js'

/** The widest access that begins there. */
function widthAt(region: ServedRegion, offset: number, left: number): AccessWidth | 8 {
  if (left >= 8 && region.wide && offset % 8 === 0) return 8
  if (left >= 4 && offset % 4 === 0) return 4
  return left >= 2 && offset % 2 === 0 ? 2 : 1
}

function put(view: DataView, at: number, width: AccessWidth | 8, value: RegisterValue): void {
  if (typeof value === 'bigint') {
    if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true)
    else put(view, at, width, Number(BigInt.asUintN(32, value)))
    return
  }
  if (typeof value !== 'number')
    throw new TypeError(`a read must give a number or a bigint, not ${typeof value}`)
  if (width === 4) view.setUint32(at, value, true)
  else if (width === 1) view.setUint8(at, value)
  else if (width === 2) view.setUint16(at, value, true)
  else view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true)
}

/**
 * Reads a part of a region, which lies within it, into `view` from `at` on.
 * @returns nothing when it is done; else who will have all of the bytes
 */
export function readRegion(
  region: ServedRegion,
  offset: number,
  count: number,
  view: DataView,
  at: number,
): Promise<Uint8Array> | undefined {
  const bytes = region.bytes
  if (bytes !== null && count > 4) {
    const part = bytes.subarray(offset, offset + count)
    // Memory that its owner has closed has no bytes any more.
    if (part.length !== count) throw new TypeError('the memory of the region was closed')
    new Uint8Array(view.buffer, view.byteOffset + at, count).set(part)
    return undefined
  }
  for (let done = 0; done < count;) {
    const width = widthAt(region, offset + done, count - done)
    const value = width === 8 ? region.read64(offset + done) : region.read(offset + done, width)
    if (value instanceof Promise) {
      const before = new Uint8Array(view.buffer, view.byteOffset + at, done).slice()
      return readLater(region, offset, count, before, value, width)
    }
    put(view, at + done, width, value)
    done += width
  }
  return undefined
}

async function readLater(
  region: ServedRegion,
  offset: number,
  count: number,
  before: Uint8Array,
  first: Promise<RegisterValue>,
  firstWidth: AccessWidth | 8,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(count)
  const view = new DataView(bytes.buffer)
  bytes.set(before)
  put(view, before.length, firstWidth, await first)
  for (let done = before.length + firstWidth; done < count;) {
    const width = widthAt(region, offset + done, count - done)
    put(
      view,
      done,
      width,
      await (width === 8 ? region.read64(offset + done) : region.read(offset + done, width)),
    )
    done += width
  }
  return bytes
}

/**
 * Writes a part of a region, which lies within it, from `view` at `at`.
 * @param later called for each access that is not done at once: nobody waits for it, as on the bus
 */
export function writeRegion(
  region: ServedRegion,
  offset: number,
  count: number,
  view: DataView,
  at: number,
  later: (pending: Promise<unknown>) => void,
): void {
  const room = region.room
  if (room !== null && count > 4) {
    room.set(new Uint8Array(view.buffer, view.byteOffset + at, count), offset)
    return
  }
  for (let done = 0; done < count;) {
    const width = widthAt(region, offset + done, count - done)
    const pending =
      width === 8
        ? region.write64(offset + done, view.getBigUint64(at + done, true))
        : region.write(offset + done, width, valueAt(view, at + done, width))
    if (pending instanceof Promise) later(pending)
    done += width
  }
}

function valueAt(view: DataView, at: number, width: AccessWidth): number {
  if (width === 4) return view.getUint32(at, true)
  return width === 2 ? view.getUint16(at, true) : view.getUint8(at)
}
