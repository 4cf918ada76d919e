// Rows of times that one measurement takes many of: the median, and how long the slow ones are. Owns which percentiles there
// are, and what is kept of the samples.
import { closeSync, openSync, writeSync } from 'node:fs'

import { type Row, type Unmeasured, compareSeveral, unmeasured } from './harness.js'
import { type Buckets, Histogram } from './histogram.js'
import type { Samples } from '../ts/measure/work.js'

const PERCENTILES = [
  ['', 0.5],
  ['.p99', 0.99],
  ['.p99.9', 0.999],
] as const

/** To two per cent: a distribution is looked at. */
const DISTRIBUTION_BITS = 6
const NANOSECONDS = { ns: 1, us: 1000 } as const

export interface Latency {
  name: string
  unit: keyof typeof NANOSECONDS
  ours: Samples
  limit: Samples
  peer: Samples | { none: string }
  peerName?: string
  runs?: number
}

type Side = 'ours' | 'limit' | 'peer'

let raw: number | undefined

/** From now on each measurement's samples are added to a file: a line of JSON each, in nanoseconds. */
export function keepRawSamples(file: string): void {
  raw = openSync(file, 'w')
}

export function closeRawSamples(): void {
  if (raw !== undefined) closeSync(raw)
  raw = undefined
}

/** The names of the rows that one latency has: 'x', 'x.p99', 'x.p99.9'. */
export function latencyNames(name: string): string[] {
  return PERCENTILES.map(([suffix]) => `${name}${suffix}`)
}

/** The rows of a latency that could not be measured. */
export function unmeasuredLatency(name: string, ...why: Unmeasured): Row[] {
  return latencyNames(name).map((each) => unmeasured(each, ...why))
}

/** Measures a latency. Each run's figures are percentiles of its own samples; the distribution is that of all runs. */
export async function compareLatency({ name, unit, ours, limit, peer, ...others }: Latency): Promise<Row[]> {
  const coarse = (): Histogram => new Histogram(DISTRIBUTION_BITS)
  const all = { ours: coarse(), limit: coarse(), peer: coarse() }
  const turns = { ours: 0, limit: 0, peer: 0 }
  const figures = (side: Side, measure: Samples) => async (): Promise<number[]> => {
    const samples = await measure()
    const turn = turns[side]++
    const histogram = Histogram.of(samples)
    // The first turn warms up.
    if (turn > 0) {
      all[side].add(histogram)
      const line = { row: name, side, run: turn - 1, nanoseconds: [...samples] }
      if (raw !== undefined) writeSync(raw, `${JSON.stringify(line)}\n`)
    }
    return PERCENTILES.map(([, at]) => histogram.quantile(at) / NANOSECONDS[unit])
  }
  const rows = await compareSeveral({
    ...others,
    names: latencyNames(name),
    unit,
    ours: figures('ours', ours),
    limit: figures('limit', limit),
    peer: 'none' in peer ? peer : figures('peer', peer),
  })
  const scaled = (side: Side): Buckets =>
    all[side].buckets.map(([value, count]) => [Number((value / NANOSECONDS[unit]).toPrecision(5)), count])
  return rows.map((row) =>
    row.name === name ? { ...row, distribution: { ours: scaled('ours'), limit: scaled('limit') } } : row,
  )
}
