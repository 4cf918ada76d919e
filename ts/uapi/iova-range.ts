// Ranges of I/O virtual addresses, and the flat lists in which the addon passes them.
import { MAX_U64, array, bigint, object } from '../validate.js'

/** A range of usable IOVAs, both ends included. */
export interface IovaRange {
  readonly start: bigint
  readonly last: bigint
}

/** The ranges of a list of start and last address, one after the other. */
export function rangesFrom(flat: readonly bigint[]): IovaRange[] {
  const ranges: IovaRange[] = []
  for (let at = 0; at + 1 < flat.length; at += 2) {
    ranges.push({ start: flat[at] ?? 0n, last: flat[at + 1] ?? 0n })
  }
  return ranges
}

/** The same list of ranges, which are checked. */
export function flatRanges(ranges: readonly IovaRange[]): bigint[] {
  return array(ranges, 'ranges').flatMap((range) => {
    const { start, last } = object(range, 'a range')
    bigint(start, 'start', 0n, MAX_U64)
    return [start, bigint(last, 'last', start, MAX_U64)]
  })
}
