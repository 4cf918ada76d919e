// The few statistics that the benchmarks need, free of assumptions about how figures are distributed: they have a floor
// and a long tail, and are anything but normal.

/** Linear between the two nearest values; NaN for none. */
export function quantile(values: readonly number[], at: number): number {
  const order = [...values].sort((a, b) => a - b)
  const position = (order.length - 1) * at
  const below = order[Math.floor(position)] ?? Number.NaN
  const above = order[Math.ceil(position)] ?? Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}
