// What --compare says of two runs.
import test from 'ava'

import { changes, describe, readRows, type Verdict } from '../../../bench/compare.js'
import type { Row } from '../../../bench/harness.js'
import { factorBetween } from '../../../bench/statistics.js'
import { median, quantile } from '../../../ts/measure/statistics.js'
import { random, row, samples } from './rows.js'

function measured(
  name: string,
  ours: readonly number[],
  limit: readonly number[] | null = null,
  unit = 'ns',
): Row {
  return row(name, { unit, samples: { ours, limit, peer: null } })
}

function verdict(after: Row, before: Row): Verdict {
  return changes([after], [before])[0]!.verdict
}

test('quantiles are linear between the nearest two', (t) => {
  t.is(median([3, 1, 2]), 2)
  t.is(median([4, 1, 2, 3]), 2.5)
  t.is(quantile([10, 20, 30, 40, 50], 0.25), 20)
  t.is(quantile([1, 2], 1), 2)
})

test('the factor between two sets, with the interval of the rank test', (t) => {
  const before = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
  const after = before.map((value) => value * 2)
  const { estimate, low, high } = factorBetween(after, before, 1.96)
  t.true(estimate > 1.9 && estimate < 2.1)
  t.true(low > 1 && low < estimate && high > estimate && high < 3)
  // By hand: the critical value of U for ten and ten is 23, so the 24th of the 100 quotients from each end.
  const quotients = after.flatMap((a) => before.map((b) => a / b)).sort((a, b) => a - b)
  t.is(low, quotients[23]!)
  t.is(high, quotients[76]!)
  t.deepEqual(factorBetween([2, 2], [1, 1], 3), { estimate: 2, low: 0, high: Infinity })
})

test('the same thing measured twice is within noise, nearly always', (t) => {
  const next = random(1)
  let changed = 0
  for (let i = 0; i < 400; i++) {
    const run = (): Row => measured('a', samples(15, 100, next), samples(15, 50, next))
    if (verdict(run(), run()) !== 'within noise') changed++
  }
  t.true(changed <= 2, `${String(changed)} false alarms`)
})

test('a tenth more or less is seen, in the direction that the unit has', (t) => {
  const next = random(2)
  for (const [unit, less, more] of [
    ['ns', 'faster', 'slower'],
    ['events/s', 'slower', 'faster'],
    ['MiB', 'smaller', 'larger'],
  ] as const) {
    const run = (floor: number): Row => measured('a', samples(15, floor, next), null, unit)
    t.is(verdict(run(90), run(100)), less)
    t.is(verdict(run(110), run(100)), more)
  }
})

test('a machine that is slower for both sides changes nothing, where there is a limit', (t) => {
  const next = random(3)
  const run = (slow: number): Row =>
    measured('a', samples(15, 100 * slow, next), samples(15, 80 * slow, next))
  const [change] = changes([run(1.5)], [run(1)])
  t.is(change!.verdict, 'within noise')
  t.is(change!.figure, 'ratio to limit')
  const alone = (slow: number): Row => measured('a', samples(15, 100 * slow, next))
  const [other] = changes([alone(1.5)], [alone(1)])
  t.is(other!.verdict, 'slower')
  t.is(other!.figure, 'ours')
})

test('a change too small to mean anything is noise, however sure it is', (t) => {
  const flat = (value: number): Row => measured('a', Array<number>(51).fill(value))
  t.is(verdict(flat(102), flat(100)), 'within noise')
  t.is(verdict(flat(104), flat(100)), 'slower')
})

test('what cannot be compared is named', (t) => {
  const next = random(4)
  const few = measured('few', samples(8, 1, next))
  const enough = measured('enough', samples(9, 1, next))
  const after = [measured('added', samples(9, 1, next)), few, row('unmeasured'), enough]
  const before = [few, row('unmeasured'), { ...enough, unit: 'us' }, measured('removed', samples(9, 1, next))]
  t.deepEqual(
    changes(after, before).map(({ name, verdict }) => [name, verdict]),
    [
      ['added', 'new'],
      ['few', 'unknown'],
      ['unmeasured', 'unknown'],
      ['enough', 'unknown'],
      ['removed', 'gone'],
    ],
  )
})

test('a change in words', (t) => {
  const factor = { estimate: 0.9, low: 0.85, high: 0.953 }
  t.is(
    describe({ name: 'a', verdict: 'faster', figure: 'ratio to limit', factor }),
    'a: faster (ratio to limit -10.0 %, between -15.0 % and -4.7 %)',
  )
  t.is(describe({ name: 'b', verdict: 'new', figure: null, factor: null }), 'b: new')
})

test('files that are no rows are refused', (t) => {
  t.deepEqual(readRows('[]', 'f'), [])
  t.throws(() => readRows('{', 'f'), { instanceOf: TypeError, message: 'f is not JSON' })
  for (const text of ['{}', '[1]', '[null]', '[{"name":"a"}]'])
    t.throws(() => readRows(text, 'f'), { instanceOf: TypeError, message: /^f is not what --json prints$/ })
})
