// `vfio bench`: what the package costs on this machine, beside the same work in C++.
import { describeMachine } from '../measure/machine.js'
import type { Row } from '../measure/harness.js'
import { measureRows, ROW_NAMES } from '../measure/rows.js'
import { BenchTools } from '../measure/tools.js'
import type { CliContext } from './context.js'
import { CliError, json, table } from './format.js'
import { WRONG_ARGUMENTS } from './given.js'
import type { BenchOutput } from './output.js'

export interface BenchOptions {
  readonly json?: boolean
  readonly only?: string
  readonly runs: number
}

function figure(value: number | null): string {
  if (value === null) return '-'
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}

/** The rows as a table, and beneath why some figures are missing, each reason once. */
export function benchText(rows: readonly Row[]): string {
  const head = ['', 'UNIT', 'HERE', 'C++ LIMIT', 'RATIO']
  const lines = rows.map(({ name, unit, ours, limit, ratioToLimit }) => [
    name,
    unit,
    figure(ours),
    figure(limit),
    ratioToLimit === null ? '-' : ratioToLimit.toFixed(2),
  ])
  const missing = [...byReason(rows)].map(([reason, names]) => `${names.join(', ')}:\n  ${reason}\n`)
  return [table([head, ...lines]), ...missing].join('\n')
}

function byReason(rows: readonly Row[]): Map<string, string[]> {
  const reasons = new Map<string, string[]>()
  for (const { name, reason } of rows) {
    if (reason !== undefined) reasons.set(reason, [...(reasons.get(reason) ?? []), name])
  }
  return reasons
}

export async function bench(
  context: CliContext,
  { json: wantsJson, only = '', runs }: BenchOptions,
): Promise<void> {
  if (!ROW_NAMES.some((name) => name.startsWith(only)))
    throw new CliError(
      `no row begins with ${JSON.stringify(only)}: there are ${ROW_NAMES.join(', ')}`,
      WRONG_ARGUMENTS,
    )
  // News, not results.
  const say = (text: string): void => context.err(`vfio: ${text}\n`)
  const machine = describeMachine()
  const rows = await measureRows(new BenchTools({ env: process.env, say }), { only, runs, say })
  const output: BenchOutput = { schema: 'vfio-bench/1', machine, rows }
  context.out(wantsJson === true ? json(output) : `${machine}\n\n${benchText(rows)}`)
}
