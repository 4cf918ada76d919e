// How two runs of a benchmark differ.
import { median } from '../ts/measure/statistics.js'

/** By which factor one set of figures is another, and between which bounds that factor lies. */
export interface Factor {
  estimate: number
  low: number
  high: number
}

/**
 * The Hodges-Lehmann estimate: the median of the factors of all pairs, one figure from each set. Its interval is the one
 * that belongs to the Mann-Whitney rank test: it excludes 1 exactly when that test, at the same level, tells the sets
 * apart. `deviations` is the level in standard deviations of the rank sum, whose distribution is near to normal from
 * eight figures on each side. With fewer figures than the level asks for, the interval has no end.
 */
export function factorBetween(
  after: readonly number[],
  before: readonly number[],
  deviations: number,
): Factor {
  const factors = after.flatMap((a) => before.map((b) => a / b)).sort((a, b) => a - b)
  const [m, n] = [after.length, before.length]
  const outside = Math.floor((m * n) / 2 - deviations * Math.sqrt((m * n * (m + n + 1)) / 12))
  return {
    estimate: median(factors),
    low: outside < 1 ? 0 : factors[outside - 1]!,
    high: outside < 1 ? Infinity : factors[m * n - outside]!,
  }
}
