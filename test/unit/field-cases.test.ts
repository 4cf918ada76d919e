// docs/field-cases.md holds what public reports and our own attacks hit, by kind: each case has its test.
import test from 'ava'
import { claimsOf, whyNoTest } from './claims.js'

const PAGE = 'docs/field-cases.md'
/** The page only grows. */
const LEAST_CASES = 150
/** The nine kinds, and what each has at least. */
const KINDS = 9
const LEAST_PER_KIND = 8
/** Seen by us, a report in a repository, or any other page. */
const SOURCE = /^(seen by us|\[[^\]]+\]\(https:\/\/[^)]+\))(, (\[[^\]]+\]\(https:\/\/[^)]+\)))*$/

const rows = claimsOf(PAGE)

test('every case of docs/field-cases.md has a test with that title, and a source', (t) => {
  t.deepEqual(
    rows.map((row) => whyNoTest(row)).filter((why) => why !== undefined),
    [],
  )
  for (const { cells, line } of rows) {
    t.is(cells.length, 4, line)
    t.regex(cells[3] ?? '', SOURCE, line)
  }
})

test('docs/field-cases.md has enough cases of each kind, and none twice', (t) => {
  t.true(rows.length >= LEAST_CASES, `${rows.length} cases`)
  const kinds = new Map<string, number>()
  for (const { heading } of rows) kinds.set(heading, (kinds.get(heading) ?? 0) + 1)
  t.is(kinds.size, KINDS)
  for (const [kind, count] of kinds) t.true(count >= LEAST_PER_KIND, `${kind}: ${count}`)
  const situations = rows.map(({ cells }) => cells[0])
  t.deepEqual(
    situations.filter((each, index) => situations.indexOf(each) !== index),
    [],
  )
})
