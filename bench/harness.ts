// What rows are made with here: the harness of `vfio bench`, the clock of the benchmarks' own addon, and what a row of a
// whole run has beside its figures.
import { benchAddon } from './addon.js'
import type { Buckets } from './histogram.js'
import type { Measure, Row as MeasuredRow } from '../ts/measure/harness.js'
import { type Loop, perTurn as perTurnOf } from '../ts/measure/work.js'

export { compare, compareSeveral, type Unmeasured, unmeasured } from '../ts/measure/harness.js'
export type { Beside, Measure, Spread } from '../ts/measure/harness.js'
export { median } from '../ts/measure/statistics.js'

/** How all times of a row are spread, those of every run, in the row's unit. */
export interface Distribution {
  ours: Buckets
  limit: Buckets
}

export interface Row extends MeasuredRow {
  /** Of a latency: how all its times are spread. */
  distribution?: Distribution
  /** Where it was measured. */
  machine?: string
}

/** Nanoseconds of the thread's time on a processor per turn of a loop. */
export function perTurn(turns: number, loop: Loop): Measure {
  return perTurnOf(() => benchAddon.cpuTime(), turns, loop)
}
