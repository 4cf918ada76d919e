// What the compilation of the rig's kernel says while one waits for it.
import { join } from 'node:path'
import test from 'ava'

import { ROOT } from '../claims.js'

const { progressOf } = (await import(join(ROOT, 'rig/index.mjs'))) as {
  progressOf(files: number, seconds: number, total: number): string
}

test('done, total, and the time left by the pace so far', (t) => {
  t.is(progressOf(500, 100, 1000), '500 of about 1000 files compiled, about 100 s left')
  t.is(progressOf(200, 120, 1000), '200 of about 1000 files compiled, about 8 minutes left')
})

test('the first small files promise nothing', (t) => {
  t.is(progressOf(19, 30, 1000), '19 of about 1000 files compiled, 30 s')
})

test('a kernel with more files than the last one says what is done, and no total', (t) => {
  t.is(progressOf(1001, 300, 1000), '1001 files compiled, 5 minutes')
})
