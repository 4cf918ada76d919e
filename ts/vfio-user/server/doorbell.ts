// Writes that signal: told apart from other writes to the same region, whether they come by message or by a client's eventfd.
import { bigint, callable, integer, MAX_U64, object } from '../../validate.js'
import { IO_FD_FLAG, IO_FD_TYPE } from '../protocol/constants.js'
import type { IoFd } from '../protocol/io-fds.js'
import type { AccessWidth, Doorbell, RegisterValue } from './options.js'
import { type ServedRegion, readWide, writeWide } from './region.js'

/** A doorbell, checked. */
export interface Bell {
  readonly offset: number
  /** 0 for any. */
  readonly width: number
  readonly match: bigint | null
  /** The same as a number, for writes of up to 4 bytes. */
  readonly value: number | null
  readonly onRing: (count: number) => unknown
}

const WIDTHS: readonly number[] = [0, 1, 2, 4, 8]

export function checkDoorbell(doorbell: Doorbell, size: number, name: string): Bell {
  const { offset, width = 0, match, onRing } = object(doorbell, name)
  if (!WIDTHS.includes(width)) throw new RangeError(`${name}.width must be 0, 1, 2, 4 or 8`)
  const room = Math.max(width, 1)
  integer(offset, `${name}.offset`, 0, size - room)
  if (offset % room !== 0) throw new RangeError(`${name}.offset must be a multiple of its width`)
  if (match !== undefined && width === 0) throw new TypeError(`${name}.match needs a width`)
  callable(onRing, `${name}.onRing`)
  const most = width === 8 ? MAX_U64 : (1n << BigInt(width * 8)) - 1n
  if (match === undefined) return { offset, width, match: null, value: null, onRing }
  const wanted = bigint(typeof match === 'number' ? BigInt(match) : match, `${name}.match`, 0n, most)
  return { offset, width, match: wanted, value: Number(wanted), onRing }
}

/** How a client is told of it. */
export function ioFdOf(bell: Bell, fdIndex: number): IoFd {
  return {
    offset: bell.offset,
    size: bell.width,
    fdIndex,
    type: IO_FD_TYPE.ioeventfd,
    flags: bell.match === null ? 0 : IO_FD_FLAG.datamatch,
    datamatch: bell.match ?? 0n,
  }
}

/** A region with doorbells: a write that is one rings, any other access goes on. */
export class BelledRegion implements ServedRegion {
  readonly size: number
  readonly wide: boolean
  readonly bytes = null
  readonly room = null
  readonly #rest: ServedRegion
  readonly #bells: readonly Bell[]

  constructor(rest: ServedRegion, bells: readonly Bell[]) {
    this.size = rest.size
    this.wide = rest.wide || bells.some(({ width }) => width === 8)
    this.#rest = rest
    this.#bells = bells
  }

  read(offset: number, width: AccessWidth): RegisterValue | Promise<RegisterValue> {
    return this.#rest.read(offset, width)
  }

  write(offset: number, width: AccessWidth, value: number): unknown {
    for (const bell of this.#bells) {
      // Written as a number up to 32 bits, so that nothing is allocated.
      if (hits(bell, offset, width) && (bell.value === null || bell.value === value)) return bell.onRing(1)
    }
    return this.#rest.write(offset, width, value)
  }

  read64(offset: number): RegisterValue | Promise<RegisterValue> {
    return readWide(this.#rest, offset)
  }

  write64(offset: number, value: bigint): unknown {
    for (const bell of this.#bells)
      if (hits(bell, offset, 8) && (bell.match === null || bell.match === value)) return bell.onRing(1)
    return writeWide(this.#rest, offset, value)
  }
}

function hits(bell: Bell, offset: number, width: number): boolean {
  return bell.offset === offset && (bell.width === width || bell.width === 0)
}
