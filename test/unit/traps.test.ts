// docs/traps.md names a test for each trap: each has to be there.
import test from 'ava'
import { claimsOf, whyNoTest } from './claims.js'

test('every test that docs/traps.md names exists', (t) => {
  const rows = claimsOf('docs/traps.md')
  t.true(rows.length > 20)
  t.deepEqual(
    rows.map((row) => whyNoTest(row)).filter((why) => why !== undefined),
    [],
  )
})
