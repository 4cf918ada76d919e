// The knowledge base holds what it is made of, is as its schema says, and its check sees each mistake.

import { join } from 'node:path'
import test from 'ava'
import { knowledge } from '../../../../ts/merged/index.js'
import { ROOT } from '../../cli/schemas.js'
import { inChild } from '../../support.js'

const script = (path: string): string => new URL(path, import.meta.resolve('#package.json')).href

/** What the check says of the files, after `edit`, a piece of a program, has changed them. */
async function problemsAfter(edit: string): Promise<string[]> {
  const { stdout } = await inChild(
    `const { readFileSync } = await import('node:fs')
    const { checkFacts, readFacts } = await import(${JSON.stringify(script('scripts/lib/facts.mjs'))})
    const folder = ${JSON.stringify(join(ROOT, 'facts'))}
    const schema = JSON.parse(readFileSync(folder + '/schema.json', 'utf8'))
    const files = readFacts(folder)
    const change = (path, edit) => {
      const file = JSON.parse(files.get(path))
      edit(file)
      files.set(path, JSON.stringify(file))
    }
    ${edit}
    console.log(JSON.stringify(checkFacts(files, schema).problems))`,
    { bare: true },
  )
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as string[]
}

test('the files are as the schema says', async (t) => {
  t.deepEqual(await problemsAfter(''), [])
})

const INTEL = `change('intel/issues.json', ({ issues }) => {`
const MISTAKES: [what: string, edit: string, said: RegExp][] = [
  ['an unknown rule', `${INTEL} issues[0].detect = { rule: 'dice' } })`, /issues\/0\/detect: .*tag "rule"/],
  ['a rule that lacks a field', `${INTEL} issues[0].detect = { rule: 'driver' } })`, /property 'in'/],
  [
    'two conditions',
    `${INTEL} issues[0].detect = { rule: 'param', module: 'xe', name: 'a', present: true, equals: '1' } })`,
    /exactly one/,
  ],
  ['a range without an end', `${INTEL} issues[0].detect = { rule: 'kernel-range' } })`, /fewer than 2/],
  ['an unknown platform', `${INTEL} issues[0].detect = { rule: 'platform', in: ['lake'] } })`, /no platform/],
  ['no source', `${INTEL} issues[1].sources = [] })`, /intel-modified-hypervisor has no source/],
  ['an id that is there twice', `${INTEL} issues[1].id = issues[0].id })`, /is in intel\/issues\.json too/],
  ['a symptom that is said twice', `${INTEL} issues[1].symptom = issues[0].symptom })`, /says what/],
  ['an id with blanks', `${INTEL} issues[0].id = 'Two Words' })`, /issues\/0\/id/],
  ['a date that is none', `${INTEL} issues[0].date = 'today' })`, /issues\/0\/date/],
  ['a field nobody knows', `${INTEL} issues[0].colour = 'red' })`, /additional properties/],
  ['an empty text', `${INTEL} issues[0].symptom = ' ' })`, /issues\/0\/symptom/],
  ['a file that is no JSON', `files.set('amd/issues.json', '{')`, /^amd\/issues\.json: /],
]
for (const [what, edit, said] of MISTAKES) {
  test(`the check sees ${what}`, async (t) => {
    t.regex((await problemsAfter(edit)).join('\n'), said)
  })
}

test('what is older than a year is told, to the day', async (t) => {
  const { stdout } = await inChild(
    `const { olderThanAYear } = await import(${JSON.stringify(script('scripts/lib/facts.mjs'))})
    const rows = ['2025', '2025-11', '2025-11-29', '2025-11-30', '2025-12', '2026-01-01'].map((date) => ({ row: { date } }))
    const old = olderThanAYear(rows, 'date', Date.UTC(2026, 10, 30))
    console.log(JSON.stringify(old.map(({ row }) => row.date)))`,
    { bare: true },
  )
  // A month or a year that is still going on a year ago is not older.
  t.deepEqual(JSON.parse(stdout.trim()), ['2025-11-29'])
})

test('all rows are in: 117 issues and the nine of the page, 69 parameters, 26 capacities, 20 of migration', (t) => {
  const { issues, parameters, capacities, migration } = knowledge()
  const page = issues.filter(({ provenance }) => provenance === 'open-iov')
  t.is(page.length, 9)
  t.is(issues.length, 117 + 9)
  t.is(parameters.length, 69)
  t.is(capacities.length, 26)
  // One more says of xe's older platforms what an issue says.
  t.is(migration.length, 20 + 1)
})

test("the page's rows are attributed, and its two parameters belong to the modules that have them", (t) => {
  const { issues, parameters } = knowledge()
  const page = [...issues, ...parameters].filter(({ provenance }) => provenance === 'open-iov')
  for (const { sources } of page)
    t.regex(sources[0]!, /^Open-IOV, "Merged Drivers", 2 March 2023, CC BY 4\.0$/)
  const modules = (name: string) => parameters.find((each) => each.name === name)!.modules
  t.deepEqual(modules('cudahost'), ['nvidia'])
  t.deepEqual(modules('vgpukvm'), ['nvidia', 'nvidia_vgpu_vfio'])
})

test('rows for any vendor come last, so that the more particular answer', (t) => {
  for (const rows of Object.values(knowledge()) as readonly { vendor?: number | null }[][]) {
    const first = rows.findIndex(({ vendor }) => vendor === null)
    if (first >= 0) t.true(rows.slice(first).every(({ vendor }) => vendor === null))
  }
})
