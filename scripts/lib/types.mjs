// The type tests: they pass when the compiler has nothing to say about them. One file counts as one test.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, runLines } from './process.mjs'
import { plural } from './say.mjs'

const FOLDER = 'test/types'

export const typeTests = async (results) => {
  const files = readdirSync(join(ROOT, FOLDER))
    .filter((name) => name.endsWith('.test-d.ts'))
    .map((name) => `${FOLDER}/${name}`)
  const complaints = new Map()
  const take = (line) => {
    const where = /^(\S+?)\(\d+,\d+\): error /.exec(line)?.[1]
    if (where === undefined) return
    console.log(`    ${line}`)
    complaints.set(where, (complaints.get(where) ?? 0) + 1)
  }
  const tsc = join('node_modules', 'typescript', 'bin', 'tsc')
  const problem = await runLines(process.execPath, [tsc, '--noEmit', '--pretty', 'false'], take)
  for (const file of files) {
    const count = complaints.get(file)
    if (count === undefined) results.pass()
    else results.fail(`${file}: ${plural(count, 'error')}`)
    complaints.delete(file)
  }
  for (const [file, count] of complaints) results.fail(`${file}: ${plural(count, 'error')}`)
  if (problem !== undefined && results.failures.length === 0) results.fail(problem)
}
