// `--compare`: what changed since an earlier run, row by row.
//
// What is compared is the ratio to the limit, pair by pair, because the limit takes the same machine's good and bad
// moments; where there is no limit, the figure itself. A row has changed when two things hold. The rank test tells the
// runs apart at 3.3 standard deviations, one false alarm in a thousand rows, since a run has dozens of rows. And the
// change is above 3 percent: the placement of code and memory, which is drawn anew in each process and not within one,
// moves a figure by as much without anything having become better. Rows from fewer than nine pairs are not judged.
import type { Row } from './harness.js'
import { type Factor, factorBetween } from './statistics.js'

export const VERDICTS = [
  'faster',
  'slower',
  'smaller',
  'larger',
  'within noise',
  'new',
  'gone',
  'unknown',
] as const
export type Verdict = (typeof VERDICTS)[number]

export interface Change {
  name: string
  verdict: Verdict
  /** What was compared. */
  figure: 'ratio to limit' | 'ours' | null
  /** Now by then; below 1 is less. */
  factor: Factor | null
}

const DEVIATIONS = 3.3
const LEAST_CHANGE = 0.03
const LEAST_PAIRS = 9

/** A rate is better when it is more. */
export function isRate(unit: string): boolean {
  return unit.endsWith('/s')
}

function isSize(unit: string): boolean {
  return unit === 'bytes' || unit === 'MiB'
}

/** The figures to compare, in the form that both rows have. */
function figures(row: Row, withLimit: boolean): readonly number[] {
  const { ours = [], limit } = row.samples ?? {}
  return withLimit ? ours.map((value, i) => value / limit![i]!) : ours
}

function judge({ estimate, low, high }: Factor, unit: string): Verdict {
  if (Math.abs(Math.log(estimate)) < Math.log1p(LEAST_CHANGE) || (low <= 1 && high >= 1))
    return 'within noise'
  const less = estimate < 1
  if (isSize(unit)) return less ? 'smaller' : 'larger'
  return less === isRate(unit) ? 'slower' : 'faster'
}

/** What became of each row, in the order of the new run; rows that are only in the old one come last. */
export function changes(after: readonly Row[], before: readonly Row[]): Change[] {
  const known = new Map(before.map((row) => [row.name, row]))
  const none = (name: string, verdict: Verdict): Change => ({ name, verdict, figure: null, factor: null })
  const present = after.map((row): Change => {
    const old = known.get(row.name)
    if (old === undefined) return none(row.name, 'new')
    if (old.unit !== row.unit || [old, row].some(({ samples }) => (samples?.ours.length ?? 0) < LEAST_PAIRS))
      return none(row.name, 'unknown')
    const withLimit = [old, row].every(({ samples }) => Array.isArray(samples?.limit))
    const factor = factorBetween(figures(row, withLimit), figures(old, withLimit), DEVIATIONS)
    return {
      name: row.name,
      verdict: judge(factor, row.unit),
      figure: withLimit ? 'ratio to limit' : 'ours',
      factor,
    }
  })
  const names = new Set(after.map(({ name }) => name))
  return [...present, ...before.filter(({ name }) => !names.has(name)).map(({ name }) => none(name, 'gone'))]
}

/** One line for a row: the verdict, and the change with its interval. */
export function describe({ name, verdict, figure, factor }: Change): string {
  if (factor === null) return `${name}: ${verdict}`
  const percent = (value: number): string => {
    const change = (value - 1) * 100
    return Number.isFinite(change) ? `${change < 0 ? '' : '+'}${change.toFixed(1)} %` : 'no bound'
  }
  const { estimate, low, high } = factor
  return `${name}: ${verdict} (${figure!} ${percent(estimate)}, between ${percent(low)} and ${percent(high)})`
}

/** The rows of a file that `--json` wrote; a TypeError for anything else. */
export function readRows(text: string, from: string): Row[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new TypeError(`${from} is not JSON`)
  }
  const isRow = (row: unknown): boolean =>
    typeof row === 'object' && row !== null && 'name' in row && 'unit' in row && 'ratioToLimit' in row
  if (!Array.isArray(value) || !value.every(isRow)) throw new TypeError(`${from} is not what --json prints`)
  return value as Row[]
}
