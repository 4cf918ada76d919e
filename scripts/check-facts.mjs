// `npm run check:facts`: validates the knowledge base in facts/ against its schema, finds duplicates and rows without source, and
// prints what is older than a year. What is old is no failure.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkFacts, olderThanAYear, readFacts } from './lib/facts.mjs'
import { ROOT } from './lib/process.mjs'

const folder = join(ROOT, 'facts')
const schema = JSON.parse(readFileSync(join(folder, 'schema.json'), 'utf8'))
const { rows, problems } = checkFacts(readFacts(folder), schema)

const list = (title, old) => {
  if (old.length === 0) return
  console.log(`${title}: ${old.length}`)
  for (const { path, row, date } of old) console.log(`  ${date}  ${path}  ${row.id}`)
}
const now = Date.now()
const dated = (field) => olderThanAYear(rows, field, now).map((each) => ({ ...each, date: each.row[field] }))
list('their sources were last read more than a year ago', dated('checked'))
list('what they say is older than a year', dated('date'))
for (const problem of problems) console.error(`facts/${problem}`)
const kinds = [...new Set(rows.map(({ kind }) => kind))]
const count = (kind) => rows.filter((each) => each.kind === kind).length
console.log(`${kinds.map((kind) => `${count(kind)} ${kind}`).join(', ')}; ${problems.length} problems`)
if (problems.length > 0) process.exitCode = 1
