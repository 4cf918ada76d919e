// The charts of a run, its page, and its SVG files.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../../temporary.js'

import { chartsOf } from '../../../bench/charts.js'
import { ROOT } from '../../../bench/limits.js'
import { page, writeSvgs } from '../../../bench/report.js'
import { row } from './rows.js'

const spread = { min: 0.8, q1: 0.9, q3: 1.25, max: 2 }
const none = { ours: null, limit: null, peer: null, ratioToLimit: null, ratioToPeer: null }

const ROWS = [
  row('signal', {
    ours: 10,
    limit: 10,
    ratioToLimit: 1,
    ratioToPeer: 0.5,
    peerName: 'node:fs',
    spread: { ...none, ratioToLimit: spread, ratioToPeer: spread },
    machine: 'a processor & more',
  }),
  row('rate', {
    unit: 'events/s',
    ours: 8,
    limit: 10,
    ratioToLimit: 0.8,
    spread: { ...none, ratioToLimit: spread },
  }),
  row('latency', {
    ours: 10,
    limit: 10,
    distribution: {
      ours: [
        [10, 90],
        [20, 10],
      ],
      limit: [
        [10, 99],
        [40, 1],
      ],
    },
  }),
  row('latency.p99', { ratioToLimit: 2, spread: { ...none, ratioToLimit: spread } }),
  row('scale.1', { ours: 10, limit: 5 }),
  row('scale.64', { ours: 12, limit: 5 }),
  row('absent', { runs: 0, reason: 'no <device>' }),
]

interface Option {
  yAxis: { data: string[] }[]
  series: { name?: string; data: unknown[] }[]
}

test('one chart for each kind of figure; a rate is turned into a cost', (t) => {
  const charts = chartsOf(ROWS)
  t.deepEqual(
    charts.map(({ id }) => id),
    ['ratio-to-limit', 'ratio-to-peer', 'tail-to-limit', 'scale', 'latency-distribution'],
  )
  const [limit, peer, tail, scale, latency] = charts.map(({ option }) => option as Option)
  t.deepEqual(tail!.yAxis[0]!.data, ['latency.p99'])
  t.deepEqual(
    latency!.series.map(({ data }) => data),
    [
      [
        [10, 90],
        [20, 100],
      ],
      [
        [10, 99],
        [40, 100],
      ],
    ],
  )
  // From below.
  t.deepEqual(limit!.yAxis[0]!.data, ['rate', 'signal'])
  t.deepEqual(limit!.series[0]!.data, [1.25, 1])
  t.deepEqual(limit!.series[1]!.data[0], {
    coords: [
      [1 / 1.25, 0],
      [1 / 0.9, 0],
    ],
  })
  t.deepEqual(limit!.series[1]!.data[1], {
    coords: [
      [0.9, 1],
      [1.25, 1],
    ],
  })
  t.deepEqual(peer!.yAxis[0]!.data, ['signal (node:fs)'])
  t.deepEqual(scale!.series[0]!.data, [
    [1, 1],
    [64, 1.2],
  ])
  t.deepEqual(scale!.series[1]!.data, [
    [1, 1],
    [64, 1],
  ])
})

test('a run without figures has no charts', (t) => {
  t.deepEqual(chartsOf([row('absent')]), [])
})

// `npm run bench` installs it, and the unit tests run without.
const drawn = existsSync(`${ROOT}bench/node_modules/echarts`) ? test : test.skip

drawn(
  'the page needs nothing beside it, and escapes what it shows (needs echarts, from `npm ci` in bench/)',
  (t) => {
    const change = {
      name: 'signal',
      verdict: 'faster',
      figure: 'ours',
      factor: { estimate: 0.5, low: 0.4, high: 0.6 },
    } as const
    const html = page(
      ROWS,
      [
        ['', 'unit'],
        ['<signal>', 'ns'],
      ],
      [change],
    )
    t.regex(html, /^<!doctype html>/)
    t.notRegex(html.replace(/<script>[^]*?<\/script>/g, ''), /<[^>]+ (src|href)=/)
    t.is(html.match(/<svg/g)?.length, 5)
    t.true(html.includes('a processor &amp; more'))
    t.true(html.includes('<td>&lt;signal&gt;</td>'))
    t.true(html.includes('absent: no &lt;device&gt;'))
    t.true(html.includes('signal: faster (ours -50.0 %, between -60.0 % and -40.0 %)'))
    t.is(html.match(/<script>/g)?.length, html.match(/<\/script>/g)?.length)
    t.is(html.match(/<script>/g)?.length, 2)
  },
)

drawn('each chart as an SVG file (needs echarts, from `npm ci` in bench/)', (t) => {
  const files = writeSvgs(join(temporaryFolder(t, 'charts'), 'new'), ROWS)
  t.is(files.length, 5)
  for (const file of files) t.regex(readFileSync(file, 'utf8'), /^<svg [^]*<\/svg>\s*$/)
  t.regex(readFileSync(files[0]!, 'utf8'), />signal</)
})
