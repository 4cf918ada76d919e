// Takes latencies apart for people: percentiles and a histogram in text.

/** Microseconds, sorted ascending. */
export type Latencies = Float64Array

/** The latency that `fraction` of all lie at or below. */
export function percentile(latencies: Latencies, fraction: number): number {
  return latencies[Math.max(0, Math.ceil(latencies.length * fraction) - 1)] ?? NaN
}

/** The upper end of a histogram that shows all but the slowest thousandth of each distribution. */
export function histogramEnd(...distributions: Latencies[]): number {
  return Math.max(...distributions.map((each) => percentile(each, 0.999)))
}

/** A bar per row from the lowest latency to `end`; what lies above counts in the last row. */
export function histogram(latencies: Latencies, start: number, end: number, rows = 12, width = 40): string[] {
  // Latencies span decades: rows of equal ratio show the body and the tail alike.
  const ratio = Math.pow(end / start, 1 / rows)
  const counts = new Array<number>(rows).fill(0)
  for (const latency of latencies) {
    const row = Math.floor(Math.log(latency / start) / Math.log(ratio))
    const inside = Math.min(rows - 1, Math.max(0, row))
    counts[inside] = (counts[inside] ?? 0) + 1
  }
  const most = Math.max(...counts)
  return counts.map((count, row) => {
    const from = (start * Math.pow(ratio, row)).toFixed(0).padStart(6)
    const bar = count === 0 ? '' : '#'.repeat(Math.max(1, Math.round((count / most) * width)))
    return `${from} µs ${row === rows - 1 ? '+' : ' '} ${bar.padEnd(width)} ${count}`
  })
}
