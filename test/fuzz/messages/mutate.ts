// What can become of a message on its way: bytes that differ, lengths that lie, pieces. Knows the header's places, and nothing of what
// the messages say.
import type { Random } from '../random.js'

export const HEADER = 16
export const COMMAND = 2
export const LENGTH = 4
export const FLAGS = 8

const WORDS = [
  ...[0, 1, 2, 4, 7, 8, 16, 24, 32, 40, 48, 255, 4095, 4096, 65535, 65536, 1 << 20, (1 << 20) + 1],
  ...[0x7fff_ffff, 0x8000_0000, 0xffff_f000, 0xffff_ffff],
]
const LONGS = [
  ...[0n, 1n, 4096n, 0x10_0000n, 1n << 32n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n, (1n << 64n) - 4096n],
]

type Change = (view: DataView, random: Random) => void

/** Where a number of a size may begin. */
function placeOf(view: DataView, random: Random, size: number, first = HEADER): number {
  const places = Math.floor((view.byteLength - first - size) / 4) + 1
  return places <= 0 ? -1 : first + 4 * random.below(places)
}

/** Most often behind the header, where a change ends the connection. */
function byteOf(view: DataView, random: Random): number {
  const inHeader = view.byteLength === HEADER || random.chance(0.01)
  return inHeader ? random.below(HEADER) : HEADER + random.below(view.byteLength - HEADER)
}

const CHANGES: readonly Change[] = [
  (view, random) => {
    const at = byteOf(view, random)
    view.setUint8(at, view.getUint8(at) ^ (1 << random.below(8)))
  },
  (view, random) => {
    view.setUint8(byteOf(view, random), random.below(256))
  },
  (view, random) => {
    const at = placeOf(view, random, 4)
    if (at >= 0) view.setUint32(at, random.of(WORDS), true)
  },
  (view, random) => {
    const at = placeOf(view, random, 4)
    if (at >= 0) view.setUint32(at, view.getUint32(at, true) + random.of([-1, 1, -4096, 4096]), true)
  },
  (view, random) => {
    const at = placeOf(view, random, 8)
    if (at >= 0) view.setBigUint64(at, random.of(LONGS), true)
  },
  (view, random) => {
    const [from, to] = [placeOf(view, random, 4), placeOf(view, random, 4)]
    if (from >= 0 && to >= 0) view.setUint32(to, view.getUint32(from, true), true)
  },
  (view, random) => {
    // A second version ends the connection.
    const first = random.chance(0.01) ? 0 : 2
    view.setUint16(COMMAND, first + random.below(18), true)
  },
  // No reply wanted, an error, or both; now and then what is neither a command nor a reply.
  (view, random) => {
    const type = random.chance(0.01) ? random.below(16) : view.getUint32(FLAGS, true) & 0xf
    view.setUint32(FLAGS, type | random.of([0, 0x10, 0x20, 0x30]), true)
  },
]

/** As long as it is, or shorter or longer, with the length in it that it has then. */
function resized(message: Uint8Array, random: Random): Uint8Array {
  if (!random.chance(0.25)) return message.slice()
  const length = random.chance(0.7)
    ? HEADER + random.below(message.length - HEADER + 1)
    : message.length + 1 + random.below(64)
  const bytes = new Uint8Array(length)
  bytes.set(message.subarray(0, length))
  new DataView(bytes.buffer).setUint32(LENGTH, length, true)
  return bytes
}

/** Another message, with the same id. */
export function mutate(message: Uint8Array, random: Random): Uint8Array {
  const bytes = resized(message, random)
  const view = new DataView(bytes.buffer)
  for (let changes = random.below(4); changes > 0; changes--) random.of(CHANGES)(view, random)
  view.setUint32(LENGTH, bytes.length, true)
  // From here on the stream is out of step, so it is rare.
  if (random.chance(0.002)) view.setUint32(LENGTH, random.of(WORDS), true)
  return bytes
}

/** The message in the pieces in which it is sent, most often one. */
export function pieces(message: Uint8Array, random: Random): Uint8Array[] {
  if (!random.chance(0.1)) return [message]
  const cuts = Array.from({ length: 1 + random.below(4) }, () => random.below(message.length))
  const places = [0, ...cuts.sort((a, b) => a - b), message.length]
  return places.slice(1).flatMap((end, i) => {
    const piece = message.subarray(places[i], end)
    return piece.length === 0 ? [] : [piece]
  })
}
