// `--report` and `--svg`: a run as one page that needs nothing else, and its charts as files.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

import { type Chart, CHART_WIDTH, chartsOf } from './charts.js'
import { type Change, describe } from './compare.js'
import type { Row } from './harness.js'
import { ROOT } from './limits.js'

interface Echarts {
  init(
    container: null,
    theme: null,
    options: { renderer: 'svg'; ssr: true; width: number; height: number },
  ): { setOption(option: object): void; renderToSVGString(): string; dispose(): void }
}

const require = createRequire(`${ROOT}bench/package.json`)

/** Installed in bench/ with the peers; unlike them, a report cannot do without. */
function locate<T>(get: () => T): T {
  try {
    return get()
  } catch (cause) {
    throw new Error('charts need echarts, which is not installed: run `npm ci` in bench/', { cause })
  }
}

/** A chart as an SVG document. */
export function renderSvg({ option, height }: Chart): string {
  const echarts = locate(() => require('echarts') as Echarts)
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: CHART_WIDTH, height })
  try {
    chart.setOption(option)
    return chart.renderToSVGString()
  } finally {
    chart.dispose()
  }
}

/** Text for HTML. */
function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text.replace(/[&<>"]/g, (character) => entities[character]!)
}

/** JavaScript or JSON for a script element, which ends at the first end tag whatever the quotes around it. */
function inScript(text: string): string {
  return text.replace(/<(?=\/script|!--)/gi, '\\x3c')
}

/** JSON has no `\x`, but every string in it may have `\u`. */
function json(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c')
}

function htmlTable([head, ...lines]: readonly (readonly string[])[]): string {
  const line = (texts: readonly string[], tag: string): string =>
    `<tr>${texts.map((text) => `<${tag}>${escaped(text)}</${tag}>`).join('')}</tr>`
  return `<table><thead>${line(head!, 'th')}</thead><tbody>${lines.map((texts) => line(texts, 'td')).join('\n')}</tbody></table>`
}

function list(heading: string, items: readonly string[]): string {
  if (items.length === 0) return ''
  return `<h2>${heading}</h2><ul>${items.map((item) => `<li>${escaped(item)}</li>`).join('\n')}</ul>`
}

const STYLE = `body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd }
td:nth-child(1), td:nth-child(2), td:nth-child(6), th:nth-child(1) { text-align: left }
.chart { width: ${String(CHART_WIDTH)}px; margin: 1.5em 0 }`

/** The page; `table` is its table's cells. Each chart is there as SVG, and becomes interactive where scripts run. */
export function page(
  rows: readonly Row[],
  table: readonly (readonly string[])[],
  changed: readonly Change[],
): string {
  const charts = chartsOf(rows)
  const library = locate(() => readFileSync(require.resolve('echarts/dist/echarts.min.js'), 'utf8'))
  const machines = [...new Set(rows.flatMap(({ machine }) => machine ?? []))]
  const reasons = rows.flatMap(({ name, reason }) => (reason === undefined ? [] : [`${name}: ${reason}`]))
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>node-vfio benchmarks</title>
<style>${STYLE}</style>
<h1>node-vfio benchmarks</h1>
${machines.map((machine) => `<p>${escaped(machine)}</p>`).join('\n')}
${list('Since the earlier run', changed.map(describe))}
${charts.map((chart) => `<div class="chart" id="${escaped(chart.id)}" style="height:${String(chart.height)}px">${renderSvg(chart)}</div>`).join('\n')}
<h2>All rows</h2>
${htmlTable(table)}
${list('What is missing, and why', reasons)}
<script>${inScript(library)}</script>
<script>
for (const { id, option } of ${json(charts.map(({ id, option }) => ({ id, option })))}) {
  const place = document.getElementById(id)
  place.replaceChildren()
  echarts.init(place, null, { renderer: 'svg' }).setOption(option)
}
</script>
</html>
`
}

/** Writes each chart into a folder, and gives the files' names. */
export function writeSvgs(folder: string, rows: readonly Row[]): string[] {
  mkdirSync(folder, { recursive: true })
  return chartsOf(rows).map((chart) => {
    const file = join(folder, `${chart.id}.svg`)
    writeFileSync(file, renderSvg(chart))
    return file
  })
}
