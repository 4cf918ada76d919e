// The part of AML, ACPI's machine language, that a description of a machine takes (ACPI 6.5, chapter 20): names, values, devices. Each
// function gives the bytes of one term. It must not know which machine is described.
import { joined, little } from './bytes.js'

const OP = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  byte: 0x0a,
  word: 0x0b,
  dword: 0x0c,
  string: 0x0d,
  qword: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualName: 0x2e,
  multiName: 0x2f,
  extended: 0x5b,
  device: 0x82,
  return: 0xa4,
} as const

const SEGMENT = /^[A-Z_][A-Z0-9_]{0,3}$/
const MOST_ELEMENTS = 255

/** A term, encoded. */
export type Term = Uint8Array

function segment(name: string): Uint8Array {
  if (!SEGMENT.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of ACPI`)
  return joined(name.padEnd(4, '_'))
}

/** A path such as `\_SB.PCI0`. */
function path(name: string): Uint8Array {
  const root = name.startsWith('\\') ? '\\' : ''
  const segments = name.slice(root.length).split('.').map(segment)
  if (segments.length === 1) return joined(root, ...segments)
  if (segments.length === 2) return joined(root, OP.dualName, ...segments)
  return joined(root, OP.multiName, segments.length, ...segments)
}

/** Contents behind their length, which counts its own bytes too. */
function sized(contents: Uint8Array): Uint8Array {
  const { length } = contents
  if (length + 1 < 0x40) return joined(length + 1, contents)
  const more = [0x1000, 0x10_0000, 0x1000_0000].findIndex((bound, i) => length + 2 + i < bound) + 1
  if (more === 0) throw new RangeError(`a term of ${length} bytes is too long`)
  const total = length + 1 + more
  const bytes = Array.from({ length: more }, (_, i) => (total >>> (4 + 8 * i)) & 0xff)
  return joined((more << 6) | (total & 0xf), ...bytes, contents)
}

/** A number, in as few bytes as it takes. */
export function number(value: number | bigint): Term {
  const big = BigInt(value)
  if (big < 0n || big >= 1n << 64n) throw new RangeError(`${String(value)} is no integer of 64 bits`)
  if (big === 0n) return joined(OP.zero)
  if (big === 1n) return joined(OP.one)
  if (big < 1n << 8n) return joined(OP.byte, little(1, big))
  if (big < 1n << 16n) return joined(OP.word, little(2, big))
  if (big < 1n << 32n) return joined(OP.dword, little(4, big))
  return joined(OP.qword, little(8, big))
}

export function text(value: string): Term {
  return joined(OP.string, value, 0)
}

/** A device's id such as `PNP0A08`, compressed to 32 bits. */
export function eisaId(id: string): Term {
  const [, letters, digits] = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id) ?? []
  if (letters === undefined || digits === undefined) throw new RangeError(`${id} is no EISA id`)
  const vendor = Buffer.from(letters).reduce((sum, letter) => (sum << 5) | (letter - 0x40), 0)
  const product = Number.parseInt(digits, 16)
  return joined(OP.dword, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff)
}

export function packageOf(...elements: readonly Term[]): Term {
  if (elements.length > MOST_ELEMENTS) throw new RangeError(`a package has at most ${MOST_ELEMENTS} elements`)
  return joined(OP.package, sized(joined(elements.length, ...elements)))
}

export function buffer(bytes: Uint8Array): Term {
  return joined(OP.buffer, sized(joined(number(bytes.length), bytes)))
}

/** `Name (path, value)`. */
export function name(at: string, value: Term): Term {
  return joined(OP.name, path(at), value)
}

export function scope(at: string, ...terms: readonly Term[]): Term {
  return joined(OP.scope, sized(joined(path(at), ...terms)))
}

export function device(at: string, ...terms: readonly Term[]): Term {
  return joined(OP.extended, OP.device, sized(joined(path(at), ...terms)))
}

/** A method without arguments that gives a value. */
export function method(at: string, value: Term): Term {
  return joined(OP.method, sized(joined(path(at), 0, OP.return, value)))
}
