// What rows are made with here: the harness of `vfio bench`, the clock of the benchmarks' own addon, and what a row of a
// whole run has beside its figures.
import { benchAddon } from './addon.js'
import type { Distribution } from './latency.js'
import type { Measure, Row as MeasuredRow } from '../ts/bench/harness.js'

export { compare, compareSeveral, type Unmeasured, unmeasured } from '../ts/bench/harness.js'
export type { Beside, Measure, Spread } from '../ts/bench/harness.js'
export { median } from '../ts/bench/statistics.js'

export interface Row extends MeasuredRow {
  /** Of a latency: how all its times are spread. */
  distribution?: Distribution
  /** Where it was measured. */
  machine?: string
}

/**
 * Nanoseconds of the processor's time per turn of a loop: what else the machine does is not counted. The loop is the
 * caller's own, so that each is compiled for what it calls.
 */
export function perTurn(turns: number, loop: (turns: number) => void): Measure {
  return () => {
    const start = benchAddon.cpuTime()
    loop(turns)
    return (benchAddon.cpuTime() - start) / turns
  }
}
