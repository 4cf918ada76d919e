// Rows to test with: samples around a figure, from a generator of its own, so that a test sees the same each time.
import type { Row } from '../../../bench/harness.js'
import { unmeasured } from '../../../ts/measure/harness.js'

/** Numbers from 0 to 1, the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** A floor and a long tail, as times have. */
export function samples(count: number, floor: number, next: () => number): number[] {
  return Array.from({ length: count }, () => floor * (1 - 0.02 * Math.log(1 - next())))
}

export function row(name: string, fields: Partial<Row> = {}): Row {
  const { reason: _, ...nothing } = unmeasured(name, 'ns', 'nothing is measured here')
  return { ...nothing, runs: 15, ...fields }
}
