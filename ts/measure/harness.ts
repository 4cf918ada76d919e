// How a row of a benchmark comes about: what is measured and what it stands beside take turns, so that a machine that slows down slows
// both, and the row keeps medians and their spread.
import { median, quantile } from './statistics.js'

/** One figure from one measurement, in the row's unit. */
export type Measure = () => number | Promise<number>

/** Several figures from one measurement, one for each row: a median and a percentile of the same samples, for example. */
export type MeasureSeveral = () => readonly number[] | Promise<readonly number[]>

export interface Spread {
  min: number
  q1: number
  q3: number
  max: number
}

/** One line of the result. `null` says that there is none, and `reason` why. */
export interface Row {
  name: string
  unit: string
  /** Median of what was measured. */
  ours: number | null
  /** Median of the limit: the same work in C++, or an empty Node-API call. */
  limit: number | null
  /** Median of the npm package, or Node module, that would be used instead. */
  peer: number | null
  peerName: string | null
  /** Medians of the ratios within the pairs. For a rate, more is better; for everything else, less. */
  ratioToLimit: number | null
  ratioToPeer: number | null
  /** How many pairs. */
  runs: number
  spread: {
    ours: Spread | null
    limit: Spread | null
    peer: Spread | null
    ratioToLimit: Spread | null
    ratioToPeer: Spread | null
  }
  /** What the medians are of, in the order of the turns; none in a row that was not measured. */
  samples?: { ours: readonly number[]; limit: readonly number[] | null; peer: readonly number[] | null }
  reason?: string
}

/** A limit or a peer: how to measure it, or why there is none. */
export type Beside = Measure | { none: string }

export interface Comparison {
  name: string
  unit: string
  ours: Measure
  limit: Beside
  /** Left out where no package is to be measured: then the row says nothing of one. */
  peer?: Beside
  peerName?: string
  /** Pairs; every figure is a median, so an odd number. */
  runs?: number
}

/** As Comparison, for several rows that are measured at once. */
export interface ComparisonOfSeveral {
  names: readonly string[]
  unit: string
  ours: MeasureSeveral
  limit: MeasureSeveral | { none: string }
  peer?: MeasureSeveral | { none: string } | undefined
  peerName?: string
  runs?: number
}

const DEFAULT_RUNS = 15

function spreadOf(values: readonly number[] | null): Spread | null {
  if (values === null) return null
  const at = (share: number): number => significant(quantile(values, share))
  return { min: at(0), q1: at(0.25), q3: at(0.75), max: at(1) }
}

/** Five digits: more would be noise. */
function significant(value: number): number {
  return Number(value.toPrecision(5))
}

function rounded(values: readonly number[]): number[] {
  return values.map(significant)
}

function middle(values: readonly number[] | null): number | null {
  return values === null ? null : significant(median(values))
}

function ratios(values: readonly number[], to: readonly number[] | null): number[] | null {
  return to === null ? null : values.map((value, i) => value / (to[i] ?? Number.NaN))
}

/** Measures a row. */
export async function compare({ name, ours, limit, peer, ...others }: Comparison): Promise<Row> {
  const single = (measure: Measure): MeasureSeveral => {
    return async () => [await measure()]
  }
  const beside = (measure: Beside): MeasureSeveral | { none: string } =>
    typeof measure === 'function' ? single(measure) : measure
  const all = {
    ...others,
    ours: single(ours),
    limit: beside(limit),
    peer: peer === undefined ? undefined : beside(peer),
  }
  const results = await measureAll({ ...all, names: [name] })
  return summary(name, all, results, 0)
}

/** Measures several rows at once. */
export async function compareSeveral(comparison: ComparisonOfSeveral): Promise<Row[]> {
  const results = await measureAll(comparison)
  return comparison.names.map((name, row) => summary(name, comparison, results, row))
}

/** What each run gave; null for what there is not. */
interface Results {
  ours: (readonly number[])[]
  limit: (readonly number[])[] | null
  peer: (readonly number[])[] | null
}

async function measureAll({ ours, limit, peer, runs = DEFAULT_RUNS }: ComparisonOfSeveral): Promise<Results> {
  const results: Results = {
    ours: [],
    limit: typeof limit === 'function' ? [] : null,
    peer: typeof peer === 'function' ? [] : null,
  }
  // The first round warms up and is not kept.
  for (let run = -1; run < runs; run++) {
    for (const [side, measure] of Object.entries({ ours, limit, peer })) {
      if (typeof measure !== 'function') continue
      const values = await measure()
      if (run >= 0) results[side as keyof Results]?.push(values)
    }
  }
  return results
}

function summary(
  name: string,
  {
    unit,
    limit,
    peer,
    peerName = null,
  }: Pick<ComparisonOfSeveral, 'unit' | 'limit' | 'peer'> & { peerName?: string | null },
  results: Results,
  row: number,
): Row {
  const figures = (side: readonly (readonly number[])[]): number[] =>
    side.map((values) => values[row] ?? Number.NaN)
  const a = figures(results.ours)
  const b = results.limit === null ? null : figures(results.limit)
  const c = results.peer === null ? null : figures(results.peer)
  const toLimit = ratios(a, b)
  const toPeer = ratios(a, c)
  const reason = [limit, peer]
    .flatMap((beside) => (typeof beside === 'object' ? [beside.none] : []))
    .join('; ')
  return {
    name,
    unit,
    ours: middle(a),
    limit: middle(b),
    peer: middle(c),
    peerName: c === null ? null : peerName,
    ratioToLimit: middle(toLimit),
    ratioToPeer: middle(toPeer),
    runs: a.length,
    spread: {
      ours: spreadOf(a),
      limit: spreadOf(b),
      peer: spreadOf(c),
      ratioToLimit: spreadOf(toLimit),
      ratioToPeer: spreadOf(toPeer),
    },
    samples: {
      ours: rounded(a),
      limit: b === null ? null : rounded(b),
      peer: c === null ? null : rounded(c),
    },
    ...(reason === '' ? {} : { reason }),
  }
}

/** Its unit, and why. */
export type Unmeasured = [unit: string, reason: string]

/** A row that could not be measured. */
export function unmeasured(name: string, ...[unit, reason]: Unmeasured): Row {
  const spread = { ours: null, limit: null, peer: null, ratioToLimit: null, ratioToPeer: null }
  return {
    name,
    unit,
    ours: null,
    limit: null,
    peer: null,
    peerName: null,
    ratioToLimit: null,
    ratioToPeer: null,
    runs: 0,
    spread,
    reason,
  }
}
