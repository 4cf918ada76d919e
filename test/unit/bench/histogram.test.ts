// Percentiles from buckets, which must be those of the values themselves.
import test from 'ava'

import { Histogram } from '../../../bench/histogram.js'
import { random, samples } from './rows.js'

/** The value that so many of all do not exceed, by looking at all. */
function exact(values: readonly number[], at: number): number {
  const order = [...values].sort((a, b) => a - b)
  return order[Math.max(1, Math.ceil(at * order.length)) - 1]!
}

test('percentiles are those of the values, to a thousandth', (t) => {
  for (const floor of [3, 700, 5_000, 3e6, 7e12]) {
    const values = samples(5_000, floor, random(floor))
    const histogram = Histogram.of(values)
    t.is(histogram.total, values.length)
    for (const at of [0, 0.001, 0.5, 0.99, 0.999, 1]) {
      const [found, wanted] = [histogram.quantile(at), exact(values, at)]
      const error = Math.abs(found - wanted)
      t.true(error <= Math.max(0.5, wanted / 1000), `${String(found)} for ${String(wanted)} at ${String(at)}`)
    }
  }
})

test('coarser ones have fewer buckets, and the same values in all', (t) => {
  const fine = Histogram.of(samples(5_000, 5_000, random(1)))
  const coarse = new Histogram(6)
  coarse.add(fine)
  coarse.add(fine)
  t.is(coarse.total, 10_000)
  t.true(coarse.buckets.length < fine.buckets.length / 4)
  const [wanted, found] = [fine.quantile(0.5), coarse.quantile(0.5)]
  t.true(Math.abs(found / wanted - 1) < 0.02)
})

test('nothing recorded has no percentile', (t) => {
  t.is(new Histogram().quantile(0.5), Number.NaN)
  t.deepEqual(new Histogram().buckets, [])
})
