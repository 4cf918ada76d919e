// The rows for people.
import type { Row } from './harness.js'
import { allowed } from './thresholds.js'

function figure(value: number | null): string {
  if (value === null) return '-'
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}

function bounded(value: number | null, bound: string): string {
  if (value === null) return '-'
  return bound === '' ? value.toFixed(2) : `${value.toFixed(2)} (${bound})`
}

/** The table's cells, its head first. */
export function cells(rows: readonly Row[]): string[][] {
  const head = ['', 'unit', 'ours', 'limit', 'peer', '', 'to limit', 'to peer']
  const lines = rows.map((row) => [
    row.name,
    row.unit,
    `${figure(row.ours)}${row.ours === null ? '' : allowed(row, 'ours').replace(/(.+)/, ' ($1)')}`,
    figure(row.limit),
    figure(row.peer),
    row.peerName ?? '',
    bounded(row.ratioToLimit, allowed(row, 'ratioToLimit')),
    bounded(row.ratioToPeer, allowed(row, 'ratioToPeer')),
  ])
  return [head, ...lines]
}

/** A table, one line per row, and below it why some figures are missing. */
export function table(rows: readonly Row[]): string {
  const lines = cells(rows)
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  const left = new Set([0, 1, 5])
  const text = lines.map((line) =>
    line
      .map((cell, i) => (left.has(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
  const reasons = rows.flatMap(({ name, reason }) => (reason === undefined ? [] : [`${name}: ${reason}`]))
  return [...text, '', ...reasons].join('\n')
}
