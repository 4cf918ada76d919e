// Who rings when: a stream of bursts and pauses, random and the same for the same seed. Knows nothing of what is rung.

/** Rings of one bell after another, then a pause. */
export interface Burst {
  bell: number
  rings: number
  /** Milliseconds until the next; mostly none. */
  pause: number
}

/** Whole numbers below `limit`, the same for the same seed (mulberry32). */
export function numbers(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}

const MOST_DOUBLINGS = 12
const PAUSE_EVERY = 200
const LONGEST_PAUSE = 3

/** Bursts until `total` rings are done: single rings as often as long bursts, a pause now and then. */
export function* bursts(bells: number, total: number, seed: number): Generator<Burst> {
  const number = numbers(seed)
  for (let left = total; left > 0;) {
    const rings = Math.min(left, 1 + number(2 ** number(MOST_DOUBLINGS)))
    left -= rings
    const pause = number(PAUSE_EVERY) === 0 ? 1 + number(LONGEST_PAUSE) : 0
    yield { bell: number(bells), rings, pause }
  }
}
