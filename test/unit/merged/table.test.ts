// The table in docs/merged.md is what the fixtures show, and each fixture's whole report is as it was looked over.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT } from '../cli/schemas.js'
import { type Host, HOSTS } from './hosts.js'
import { reportOf, vendorTable } from './table.js'

const onPosix = process.platform === 'win32' ? test.skip : test
const GUIDE = join(ROOT, 'docs/merged.md')
const START =
  '<!-- The table is made by test/unit/merged/table.ts: UPDATE_DOCS=1 npm test -- --unit --filter unit/merged/table -->\n\n'
const END = '\n\n<!-- The end of the table. -->'

/** The cells of each row, however wide they are drawn. */
const cells = (table: string) =>
  table.split('\n').map((line) => line.split('|').map((cell) => cell.trim().replace(/^-+$/, '-')))

onPosix('the table of docs/merged.md is what the fixtures show', (t) => {
  const guide = readFileSync(GUIDE, 'utf8')
  const from = guide.indexOf(START) + START.length
  const to = guide.indexOf(END)
  t.true(from >= START.length && to > from)
  const table = vendorTable()
  if (process.env.UPDATE_DOCS === '1') writeFileSync(GUIDE, guide.slice(0, from) + table + guide.slice(to))
  else t.deepEqual(cells(guide.slice(from, to)), cells(table))
})

/** The report without what the rows of facts/ say: the rows are named. */
function briefly({ devices, ...report }: ReturnType<typeof reportOf>): object {
  return {
    ...report,
    devices: devices.map(({ knownIssues, frameworks, parameters, ...device }) => ({
      ...device,
      knownIssues: knownIssues.map(({ id, answer, read }) => `${answer} ${id}: ${read}`),
      frameworks: frameworks.map(({ capacity, migration, name: _name, sources: _sources, ...told }) => ({
        ...told,
        counted: capacity.counted,
        documented: capacity.documented.map(({ id }) => id),
        migration: `${migration.answer} by ${migration.fact?.id ?? 'no row'}`,
      })),
      parameters: parameters.map(({ id, module, value, inForce, asked, read }) => {
        return { id, module, value, inForce, asked, read }
      }),
    })),
  }
}

for (const [name, host] of Object.entries<Host>(HOSTS)) {
  onPosix(`${name}: the whole report`, (t) => {
    t.snapshot(briefly(reportOf(host)))
  })
}
