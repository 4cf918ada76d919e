// The regions of a device as its server asks them: by width and offset, within their size. One class for each way to answer;
// nothing here allocates on an access, but what 8 bytes cost as a bigint.
import type {
  AccessWidth,
  RegisterValue,
  UserRegionOptions,
  UserDeviceHandlers,
  UserRegionName,
} from './options.js'
import type { UserConfigSpace } from './config-space.js'

type Later<T> = T | Promise<T>

/** A region as the server sees it. Offsets are aligned to the width, and the access lies within the region. */
export interface ServedRegion {
  readonly size: number
  /** Whether accesses of 8 bytes are taken whole. */
  readonly wide: boolean
  /** All of the region, where reading is nothing but reading memory; null where it is more. */
  readonly bytes: Uint8Array | null
  /** The same for writing. */
  readonly room: Uint8Array | null
  read(offset: number, width: AccessWidth): Later<RegisterValue>
  write(offset: number, width: AccessWidth, value: number): Later<unknown>
  read64(offset: number): Later<RegisterValue>
  write64(offset: number, value: bigint): Later<unknown>
}

/** What is asked of a region that takes no accesses of 8 bytes. */
abstract class Narrow {
  readonly wide: boolean = false
  readonly bytes: Uint8Array | null = null
  readonly room: Uint8Array | null = null

  read64(_offset: number): Later<RegisterValue> {
    return 0
  }

  write64(_offset: number, _value: bigint): Later<unknown> {
    return undefined
  }
}

/** A region that a device has not. */
export class AbsentRegion extends Narrow implements ServedRegion {
  readonly size = 0

  read(_offset: number, _width: AccessWidth): RegisterValue {
    return 0
  }

  write(_offset: number, _width: AccessWidth, _value: number): void {
    // Nothing is there.
  }
}

/** Configuration space. */
export class ConfigRegion extends Narrow implements ServedRegion {
  readonly size: number
  readonly #space: UserConfigSpace

  constructor(space: UserConfigSpace) {
    super()
    this.#space = space
    this.size = space.size
  }

  read(offset: number, width: AccessWidth): RegisterValue {
    if (width === 4) return this.#space.read32(offset)
    return width === 2 ? this.#space.read16(offset) : this.#space.read8(offset)
  }

  write(offset: number, width: AccessWidth, value: number): void {
    if (width === 4) this.#space.write32(offset, value)
    else if (width === 2) this.#space.write16(offset, value)
    else this.#space.write8(offset, value)
  }
}

type Read = (offset: number, width: AccessWidth) => Later<RegisterValue>
type Write = (offset: number, width: AccessWidth, value: number) => Later<unknown>
type Read64 = (offset: number) => Later<RegisterValue>
type Write64 = (offset: number, value: bigint) => Later<unknown>

/** Registers: each access is a call of the author's. */
export class HandledRegion implements ServedRegion {
  readonly size: number
  readonly wide: boolean
  readonly bytes = null
  readonly room = null
  readonly read: Read
  readonly write: Write
  readonly read64: Read64
  readonly write64: Write64

  /** @param handlers of the device, for what the region has none of its own */
  constructor(name: UserRegionName, options: UserRegionOptions, handlers: UserDeviceHandlers) {
    const { onRead, onWrite, onRead64, onWrite64 } = handlers
    this.size = options.size
    this.read =
      options.read ?? (onRead === undefined ? () => 0 : (offset, width) => onRead(name, offset, width))
    this.write =
      options.write ??
      (onWrite === undefined
        ? () => undefined
        : (offset, width, value) => onWrite(name, offset, width, value))
    const read64 = options.read64 ?? (onRead64 && ((offset: number) => onRead64(name, offset)))
    const write64 =
      options.write64 ?? (onWrite64 && ((offset: number, value: bigint) => onWrite64(name, offset, value)))
    this.wide = read64 !== undefined || write64 !== undefined
    // With one of the two, the other is made of accesses of 4 bytes.
    this.read64 = read64 ?? ((offset) => joined(this.read(offset, 4), this.read(offset + 4, 4)))
    this.write64 =
      write64 ??
      ((offset, value) =>
        both(
          this.write(offset, 4, Number(value & 0xffff_ffffn)),
          this.write(offset + 4, 4, Number(value >> 32n)),
        ))
  }
}

function join(low: RegisterValue, high: RegisterValue): bigint {
  return (BigInt.asUintN(32, BigInt(high)) << 32n) | BigInt.asUintN(32, BigInt(low))
}

function joined(low: Later<RegisterValue>, high: Later<RegisterValue>): Later<RegisterValue> {
  if (low instanceof Promise || high instanceof Promise)
    return Promise.all([low, high]).then(([lower, upper]) => join(lower, upper))
  return join(low, high)
}

function both(low: Later<unknown>, high: Later<unknown>): Later<unknown> {
  return low instanceof Promise || high instanceof Promise ? Promise.all([low, high]) : undefined
}

/** 8 bytes of whichever region. */
export function readWide(region: ServedRegion, offset: number): Later<RegisterValue> {
  if (region.wide) return region.read64(offset)
  return joined(region.read(offset, 4), region.read(offset + 4, 4))
}

export function writeWide(region: ServedRegion, offset: number, value: bigint): Later<unknown> {
  if (region.wide) return region.write64(offset, value)
  const low = region.write(offset, 4, Number(value & 0xffff_ffffn))
  return both(low, region.write(offset + 4, 4, Number(value >> 32n)))
}

/** Whether somebody wants to be called for accesses to a region. */
export function isHandled(options: UserRegionOptions, handlers: UserDeviceHandlers): boolean {
  return [options.read, options.write, handlers.onRead, handlers.onWrite].some((each) => each !== undefined)
}

/** Memory: what is written is read back. */
export class BackedRegion implements ServedRegion {
  readonly size: number
  readonly wide = true
  readonly bytes: Uint8Array
  readonly room: Uint8Array | null
  readonly #view: DataView
  readonly #readOnly: boolean

  constructor(bytes: Uint8Array, readOnly = false) {
    this.bytes = bytes
    this.room = readOnly ? null : bytes
    this.size = bytes.byteLength
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#readOnly = readOnly
  }

  read(offset: number, width: AccessWidth): RegisterValue {
    if (width === 4) return this.#view.getUint32(offset, true)
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint8(offset)
  }

  write(offset: number, width: AccessWidth, value: number): void {
    if (this.#readOnly) return
    if (width === 4) this.#view.setUint32(offset, value, true)
    else if (width === 2) this.#view.setUint16(offset, value, true)
    else this.#view.setUint8(offset, value)
  }

  read64(offset: number): RegisterValue {
    return this.#view.getBigUint64(offset, true)
  }

  write64(offset: number, value: bigint): void {
    if (!this.#readOnly) this.#view.setBigUint64(offset, value, true)
  }
}

/** A region of which parts are answered by others: a table, doorbells, memory beside registers. */
export class DividedRegion implements ServedRegion {
  readonly size: number
  readonly wide: boolean
  readonly bytes = null
  readonly room = null
  readonly #rest: ServedRegion
  readonly #parts: readonly RegionPart[]

  constructor(rest: ServedRegion, parts: readonly RegionPart[]) {
    this.size = rest.size
    this.wide = rest.wide || parts.some(({ region }) => region.wide)
    this.#rest = rest
    this.#parts = parts
  }

  read(offset: number, width: AccessWidth): Later<RegisterValue> {
    const part = this.#at(offset)
    return part === null ? this.#rest.read(offset, width) : part.region.read(offset - part.offset, width)
  }

  write(offset: number, width: AccessWidth, value: number): Later<unknown> {
    const part = this.#at(offset)
    return part === null
      ? this.#rest.write(offset, width, value)
      : part.region.write(offset - part.offset, width, value)
  }

  read64(offset: number): Later<RegisterValue> {
    const part = this.#at(offset)
    return part === null ? readWide(this.#rest, offset) : readWide(part.region, offset - part.offset)
  }

  write64(offset: number, value: bigint): Later<unknown> {
    const part = this.#at(offset)
    return part === null
      ? writeWide(this.#rest, offset, value)
      : writeWide(part.region, offset - part.offset, value)
  }

  #at(offset: number): RegionPart | null {
    for (const part of this.#parts) if (offset >= part.offset && offset < part.end) return part
    return null
  }
}

/** A part of a region: whatever lies from `offset` up to `end`. */
export interface RegionPart {
  readonly offset: number
  readonly end: number
  readonly region: ServedRegion
}
