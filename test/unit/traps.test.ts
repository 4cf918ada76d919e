// docs/traps.md names a test for each trap: each has to be there.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

/** Sources are beside the docs; this file runs from out/test/unit. */
const ROOT = join(import.meta.dirname, '../../..')

test('every test that docs/traps.md names exists', (t) => {
  const rows = readFileSync(join(ROOT, 'docs/traps.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\| (the kernel|-+) /.test(line))
  t.true(rows.length > 20)
  for (const row of rows) {
    const [, file, title] = /(test\/\S+\.ts) › (.+?) *\|$/.exec(row) ?? []
    if (file === undefined || title === undefined) t.fail(`names no test: ${row}`)
    else t.true(readFileSync(join(ROOT, file), 'utf8').includes(title), `${file} has no '${title}'`)
  }
})
