// What a region of a plugged-in device answers, as a number. Knows no region.
import type { RegisterValue } from '../../vfio-user/server/options.js'
import type { Width } from '../bus.js'

/** The index of the configuration space among a device's regions. */
export const CONFIG_REGION = 7

const ALL_ONES = 0xffff_ffff

/** A processor waits for what it reads, so that an answer which comes later is none. */
export function answer(value: RegisterValue | Promise<RegisterValue>, width: Width): number {
  if (value instanceof Promise) {
    value.catch(() => undefined)
    throw new TypeError('a handler gave a promise, for which no processor can wait')
  }
  const whole = typeof value === 'bigint' ? Number(BigInt.asUintN(32, value)) : value
  if (typeof whole !== 'number')
    throw new TypeError(`a read must give a number or a bigint, not ${typeof whole}`)
  return width === 4 ? whole >>> 0 : whole & (ALL_ONES >>> (32 - 8 * width))
}
