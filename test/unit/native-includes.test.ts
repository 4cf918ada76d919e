// Which folder of native/ may include which: that the sources keep to it, and that the check sees who does not.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

import { ROOT } from './claims.js'

type Table = Readonly<Record<string, readonly string[]>>

const { MAY_INCLUDE, circleIn, includeProblems } = (await import(join(ROOT, 'scripts/lib/includes.mjs'))) as {
  MAY_INCLUDE: Table
  circleIn: (table: Table) => string[] | undefined
  includeProblems: (files: ReadonlyMap<string, string>, table?: Table) => string[]
}

const TABLE = { low: [], high: ['low'] }
const sources = {
  'low/a.h': '#pragma once\n',
  'high/b.h': '#pragma once\n\n#include <map>\n#include "low/a.h"\n',
}

const problemsWith = (files: Record<string, string>, table: Table = TABLE) =>
  includeProblems(new Map(Object.entries({ ...sources, ...files })), table)

test('the sources include one way', (t) => {
  const folder = join(ROOT, 'native')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(cc|h)$/.test(name),
  )
  t.true(files.length > 90)
  t.deepEqual(
    includeProblems(new Map(files.map((name) => [name, readFileSync(join(folder, name), 'utf8')]))),
    [],
  )
})

test('native/support and native/uapi may include no other folder', (t) => {
  t.deepEqual(MAY_INCLUDE.support, [])
  t.deepEqual(MAY_INCLUDE.uapi, [])
})

test('an include that goes up is named with its file and line', (t) => {
  t.deepEqual(problemsWith({}), [])
  t.deepEqual(problemsWith({ 'low/a.h': '#pragma once\n\n#include "high/b.h"\n' }), [
    'native/low/a.h:3: includes high/b.h, but native/low may include no other folder',
  ])
})

test('a folder without a row, a file that is not there and a hyphen are named', (t) => {
  t.deepEqual(problemsWith({ 'new/c.cc': '', 'high/d.cc': '#include "b.h"\n', 'low/a-b.h': '' }), [
    'native/new/c.cc:1: no row for native/new in the table of folders',
    'native/high/d.cc:1: there is no native/b.h',
    "native/low/a-b.h:1: words in a file's name are separated by _",
  ])
})

test('a table with a circle is refused', (t) => {
  t.deepEqual(circleIn({ a: ['b'], b: ['c'], c: ['a'] }), ['a', 'b', 'c', 'a'])
  t.is(circleIn(MAY_INCLUDE), undefined)
  t.deepEqual(problemsWith({}, { low: ['high'], high: ['low'] }), [
    'the table of folders has a circle: low -> high -> low',
  ])
})
