// The charts of a run, as options for echarts. Knows how rows look, and nothing of pages or files.
import type { Row, Spread } from './harness.js'
import type { Buckets } from './histogram.js'

export interface Chart {
  /** Names the file and the place in the page. */
  id: string
  title: string
  height: number
  /** What echarts takes: plain JSON, so that a page can carry it. */
  option: object
}

export const CHART_WIDTH = 900
const ROW_HEIGHT = 26
const MARGIN = { top: 70, bottom: 60 }

interface Bar {
  name: string
  value: number
  spread: Spread
}

/** Where an axis from 0 ends that has to show a value: the next of 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8 and their tens. */
function axisEnd(value: number): number {
  const ten = 10 ** Math.floor(Math.log10(value))
  const step = [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((each) => each * ten >= value * 1.02)
  return (step ?? 10) * ten
}

/** One bar per row, with the quartiles as a whisker and a line where the two sides are equal. */
function ratioChart(id: string, title: string, subtext: string, bars: readonly Bar[]): Chart[] {
  if (bars.length === 0) return []
  // The first row on top: echarts counts a category axis from below.
  const order = [...bars].reverse()
  const height = MARGIN.top + MARGIN.bottom + ROW_HEIGHT * order.length
  const whiskers = order.flatMap(({ spread }, i) => [
    {
      coords: [
        [spread.q1, i],
        [spread.q3, i],
      ],
    },
  ])
  const option = {
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, subtext, left: 10, top: 8 },
    tooltip: { trigger: 'axis', axisPointer: { type: 'shadow' } },
    grid: { left: 300, right: 80, top: MARGIN.top, bottom: MARGIN.bottom },
    xAxis: {
      type: 'value',
      name: 'ratio',
      nameLocation: 'middle',
      nameGap: 30,
      min: 0,
      max: axisEnd(Math.max(1, ...order.flatMap(({ value, spread }) => [value, spread.q3]))),
    },
    yAxis: [
      {
        type: 'category',
        data: order.map(({ name }) => name),
        axisLabel: { interval: 0 },
        axisTick: { show: false },
      },
      // The figures, where no bar and no whisker hides them.
      {
        type: 'category',
        position: 'right',
        data: order.map(({ value }) => value.toPrecision(3)),
        axisLabel: { interval: 0, color: '#222222' },
        axisTick: { show: false },
        axisLine: { show: false },
      },
    ],
    series: [
      {
        type: 'bar',
        name: 'median',
        barWidth: 12,
        itemStyle: { color: '#4c78a8' },
        data: order.map(({ value }) => Number(value.toPrecision(3))),
        markLine: {
          silent: true,
          symbol: 'none',
          label: { formatter: '1', position: 'end' },
          lineStyle: { color: '#e45756', type: 'dashed' },
          data: [{ xAxis: 1 }],
        },
      },
      {
        // Each whisker is a line of its own between the quartiles.
        type: 'lines',
        coordinateSystem: 'cartesian2d',
        silent: true,
        symbol: ['none', 'none'],
        lineStyle: { color: '#222222', width: 3, opacity: 0.75 },
        data: whiskers,
      },
    ],
  }
  return [{ id, title, height, option }]
}

function bars(rows: readonly Row[], figure: 'ratioToLimit' | 'ratioToPeer'): Bar[] {
  return rows.flatMap((row) => {
    const [value, spread] = [row[figure], row.spread[figure]]
    const name = figure === 'ratioToPeer' ? `${row.name} (${row.peerName ?? ''})` : row.name
    return value === null || spread === null ? [] : [{ name, value, spread }]
  })
}

/** Rows that are one measurement at several sizes are named `series.size`. */
function series(rows: readonly Row[]): Map<string, { size: number; row: Row }[]> {
  const found = new Map<string, { size: number; row: Row }[]>()
  for (const row of rows) {
    const [, name, size] = /^(.+)\.(\d+)$/.exec(row.name) ?? []
    if (name === undefined || row.ours === null) continue
    found.set(name, [...(found.get(name) ?? []), { size: Number(size), row }])
  }
  return new Map([...found].filter(([, points]) => points.length > 1))
}

/** The cost at each size by that at the smallest, for ours and for the limit. */
function seriesChart(name: string, points: { size: number; row: Row }[]): Chart {
  const order = points.sort((a, b) => a.size - b.size)
  const line = (column: 'ours' | 'limit', label: string, color: string): object => {
    const first = order[0]!.row[column]
    return {
      type: 'line',
      name: label,
      color,
      data: order.flatMap(({ size, row }) => {
        const value = row[column]
        return value === null || first === null ? [] : [[size, Number((value / first).toPrecision(4))]]
      }),
    }
  }
  const option = {
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: name, subtext: `cost by the cost at ${String(order[0]!.size)}`, left: 10, top: 8 },
    tooltip: { trigger: 'axis' },
    legend: { right: 20, top: 20 },
    grid: { left: 70, right: 40, top: MARGIN.top, bottom: MARGIN.bottom },
    xAxis: { type: 'log', name: 'size', nameLocation: 'middle', nameGap: 30 },
    yAxis: { type: 'value', min: 0 },
    series: [line('ours', 'node-vfio', '#4c78a8'), line('limit', 'C++', '#f58518')],
  }
  return { id: name.replaceAll('.', '-'), title: name, height: 340, option }
}

/** How many of a latency's times are over by when: ours and the limit's. */
function distributionChart({ name, unit, distribution }: Row): Chart[] {
  if (distribution === undefined) return []
  const line = (label: string, color: string, buckets: Buckets): object => {
    const total = buckets.reduce((sum, [, count]) => sum + count, 0)
    let seen = 0
    const points = buckets.map(([value, count]) => {
      seen += count
      return [value, Number(((100 * seen) / total).toPrecision(4))]
    })
    return { type: 'line', name: label, color, step: 'end', showSymbol: false, data: points }
  }
  const edges = [distribution.ours, distribution.limit].flatMap((buckets) => [
    valueAt(buckets, 0.001),
    valueAt(buckets, 0.995),
  ])
  const option = {
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: name, subtext: 'the share of all times that is over by then', left: 10, top: 8 },
    tooltip: { trigger: 'axis' },
    legend: { right: 20, top: 20 },
    grid: { left: 70, right: 40, top: MARGIN.top, bottom: MARGIN.bottom },
    xAxis: {
      type: 'log',
      name: unit,
      nameLocation: 'middle',
      nameGap: 30,
      min: roundDown(Math.min(...edges)),
      max: axisEnd(Math.max(...edges)),
    },
    yAxis: { type: 'value', min: 0, max: 100, axisLabel: { formatter: '{value} %' } },
    series: [line('node-vfio', '#4c78a8', distribution.ours), line('C++', '#f58518', distribution.limit)],
  }
  return [{ id: `${name.replaceAll('.', '-')}-distribution`, title: name, height: 320, option }]
}

/** To one digit, for the start of a logarithmic axis. */
function roundDown(value: number): number {
  const ten = 10 ** Math.floor(Math.log10(value))
  return Math.floor(value / ten) * ten
}

function valueAt(buckets: Buckets, at: number): number {
  const total = buckets.reduce((sum, [, count]) => sum + count, 0)
  let seen = 0
  return buckets.find(([, count]) => (seen += count) >= at * total)?.[0] ?? 1
}

/** The charts that a run has figures for. A rate's ratio is turned over, so that less is better everywhere. */
export function chartsOf(rows: readonly Row[]): Chart[] {
  const costs = rows.map(asCost)
  const typical = costs.filter((row) => !isTail(row))
  return [
    ...ratioChart(
      'ratio-to-limit',
      'Cost by the cost of the same work in C++',
      'medians of interleaved pairs, quartiles; 1 is no difference, less is better',
      bars(typical, 'ratioToLimit'),
    ),
    ...ratioChart(
      'ratio-to-peer',
      'Cost by that of what would be used instead',
      'medians of interleaved pairs, quartiles; 1 is no difference, less is better',
      bars(typical, 'ratioToPeer'),
    ),
    ...ratioChart(
      'tail-to-limit',
      'The slow ones, by those of C++',
      'the 99th and the 99.9th percentile of the latencies; medians of interleaved pairs, quartiles',
      bars(costs.filter(isTail), 'ratioToLimit'),
    ),
    ...[...series(rows)].map(([name, points]) => seriesChart(name, points)),
    ...rows.flatMap(distributionChart),
  ]
}

/** A row of a latency's slow ones. */
function isTail({ name }: Row): boolean {
  return /\.p99(\.9)?$/.test(name)
}

function inverse({ min, q1, q3, max }: Spread): Spread {
  return { min: 1 / max, q1: 1 / q3, q3: 1 / q1, max: 1 / min }
}

function asCost(row: Row): Row {
  if (!row.unit.endsWith('/s')) return row
  const turned = (value: number | null): number | null => (value === null ? null : 1 / value)
  const spread = (value: Spread | null): Spread | null => (value === null ? null : inverse(value))
  return {
    ...row,
    ratioToLimit: turned(row.ratioToLimit),
    ratioToPeer: turned(row.ratioToPeer),
    spread: {
      ...row.spread,
      ratioToLimit: spread(row.spread.ratioToLimit),
      ratioToPeer: spread(row.spread.ratioToPeer),
    },
  }
}
