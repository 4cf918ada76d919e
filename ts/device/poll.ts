// Polling a register: what may be asked for, and what it means when the time is up.
import { ETIMEDOUT, VfioError } from '../errors.js'
import { MAX_U64, bigint, integer } from '../validate.js'
import type { RegionRegisters } from './backend.js'

export interface PollOptions {
  /** The bits that count (default: all). */
  mask?: number | bigint
  /** What they must be. */
  equals: number | bigint
  /** Microseconds to spin at most, 0 to 3.6e9 (default 1000). */
  timeoutMicros?: number
  /** Bytes of the register: 1, 2 or 4 (the default); `poll64` is for 8. */
  width?: 1 | 2 | 4
}

/** A value of up to 64 bits, given as either kind of number. */
export function wide(value: unknown, name: string, most: bigint): bigint {
  if (typeof value === 'number')
    return BigInt(integer(value, name, 0, Number(most > MAX_U64 ? MAX_U64 : most)))
  return bigint(value, name, 0n, most)
}

/** @throws VfioError ETIMEDOUT */
export function poll(
  registers: RegionRegisters,
  label: string,
  size: number,
  offset: number,
  options: PollOptions,
  width: number,
): bigint {
  const most = (1n << BigInt(width * 8)) - 1n
  if (typeof options !== 'object' || (options as unknown) === null)
    throw new TypeError('options must be an object')
  const { mask = most, equals, timeoutMicros = 1000 } = options
  integer(offset, 'offset', 0, Math.max(0, size - width))
  if (offset % width !== 0) throw new RangeError(`offset must be a multiple of ${String(width)}`)
  const value = registers.poll(
    offset,
    width,
    wide(mask, 'mask', most),
    wide(equals, 'equals', most),
    integer(timeoutMicros, 'timeoutMicros', 0, 3_600_000_000),
  )
  if (value !== null) return value
  throw new VfioError(ETIMEDOUT, 'poll', {
    subject: `${label} at 0x${offset.toString(16)}`,
    reason: 'timeout',
    remedy: `The register did not reach the value within ${String(timeoutMicros)} microseconds.`,
  })
}
