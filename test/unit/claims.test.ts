// How tables and sources are read for the tests that they name.
import test from 'ava'
import { declares, rowsOf } from './claims.js'

test('rows are those below a head, with the heading above them', (t) => {
  const rows = rowsOf(`# A page
| no | table |

## First

| what | shown by |
| ---- | -------- |
| a \\| b | test/x.test.ts › a title, with \\| in it |
| without a test | nothing |

## Second

| what | shown by |
| :--- | -------: |
| c    | test/native/y.cc › another |
`)
  t.deepEqual(
    rows.map(({ heading, cells, file, title }) => [heading, cells[0], file, title]),
    [
      ['First', 'a | b', 'test/x.test.ts', 'a title, with | in it'],
      ['First', 'without a test', undefined, undefined],
      ['Second', 'c', 'test/native/y.cc', 'another'],
    ],
  )
})

test('a title is declared as it stands, or by a template that makes it', (t) => {
  t.true(declares("test('one', body)", 'one'))
  t.true(declares('TEST_CASE("one") {', 'one'))
  t.true(declares("test(\n  'one',\n", 'one'))
  t.false(declares("test('one and more', body)", 'one'))
  t.false(declares("test('more than one', body)", 'one'))
  const template = 'test(`${how}: ends (spin ${String(spin)}) twice`, body)'
  t.true(declares(template, 'by hand: ends (spin 5) twice'))
  t.false(declares(template, 'by hand: ends (spin 5) once'))
  t.false(declares('test(`${title}`, body)', 'anything'))
})
