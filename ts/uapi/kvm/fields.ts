// Structures of fixed members, described once: where each lies and how wide it is. Decodes and encodes by that. Pure.
import { MAX_U64, array, bigint, boolean, integer, object } from '../../validate.js'

type Width = 'u8' | 'u16' | 'u32' | 'u64' | 's64' | 'flag'

/** A member's width, by the type of its value: a flag is one byte. */
type WidthOf<Value> = Value extends boolean
  ? 'flag'
  : Value extends bigint
    ? 'u64' | 's64'
    : 'u8' | 'u16' | 'u32'

/** Where the members of a structure lie: width and offset in bytes. @internal */
export type FieldsOf<Structure> = {
  readonly [Name in keyof Structure]: readonly [width: WidthOf<Structure[Name]>, at: number]
}

/** @internal */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function get(view: DataView, width: Width, at: number): number | bigint | boolean {
  switch (width) {
    case 'u8':
      return view.getUint8(at)
    case 'u16':
      return view.getUint16(at, true)
    case 'u32':
      return view.getUint32(at, true)
    case 'u64':
      return view.getBigUint64(at, true)
    case 's64':
      return view.getBigInt64(at, true)
    case 'flag':
      return view.getUint8(at) !== 0
  }
}

function set(view: DataView, width: Width, at: number, value: unknown, name: string): void {
  switch (width) {
    case 'u8':
      view.setUint8(at, integer(value, name, 0, 0xff))
      return
    case 'u16':
      view.setUint16(at, integer(value, name, 0, 0xffff), true)
      return
    case 'u32':
      view.setUint32(at, integer(value, name, 0, 0xffff_ffff), true)
      return
    case 'u64':
      view.setBigUint64(at, bigint(value, name, 0n, MAX_U64), true)
      return
    case 's64':
      view.setBigInt64(at, bigint(value, name, -(1n << 63n), (1n << 63n) - 1n), true)
      return
    case 'flag':
      view.setUint8(at, Number(boolean(value, name)))
  }
}

function entriesOf(fields: object): [string, readonly [Width, number]][] {
  return Object.entries(fields) as [string, readonly [Width, number]][]
}

/** The members of a structure that begins at `base`. @internal */
export function decodeFields<Structure>(bytes: Uint8Array, fields: FieldsOf<Structure>, base = 0): Structure {
  const view = viewOf(bytes)
  return Object.fromEntries(
    entriesOf(fields).map(([name, [width, at]]) => [name, get(view, width, base + at)]),
  ) as Structure
}

/** Changes the members that are named. @throws TypeError, RangeError with the member's name @internal */
export function encodeFields<Structure extends object>(
  bytes: Uint8Array,
  fields: FieldsOf<Structure>,
  changes: Partial<Structure>,
  label: string,
  base = 0,
): void {
  object(changes, label)
  const view = viewOf(bytes)
  const values = changes as Record<string, unknown>
  for (const [name, [width, at]] of entriesOf(fields)) {
    if (values[name] !== undefined) set(view, width, base + at, values[name], `${label}.${name}`)
  }
}

/** Writes `count` parts of `size` bytes, one behind the other. @internal */
export function encodeParts(
  bytes: Uint8Array,
  parts: readonly Uint8Array[],
  label: string,
  place: { at: number; count: number; size: number },
): void {
  const { at, count, size } = place
  if (array(parts, label).length !== count) {
    throw new RangeError(`${label} must have ${String(count)} members, not ${String(parts.length)}`)
  }
  for (const [i, part] of parts.entries()) {
    if (!(part instanceof Uint8Array)) throw new TypeError(`${label}[${String(i)}] must be a Uint8Array`)
    if (part.length !== size) {
      throw new RangeError(
        `${label}[${String(i)}] must have ${String(size)} bytes, not ${String(part.length)}`,
      )
    }
    bytes.set(part, at + i * size)
  }
}
