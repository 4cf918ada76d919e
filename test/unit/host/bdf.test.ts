// PCI addresses as text, both ways.

import test from 'ava'
import fc from 'fast-check'
import { compareBdf, formatBdf, isBdf, parseBdf } from '../../../ts/host/index.js'

test('with and without a domain, in either case', (t) => {
  t.deepEqual(parseBdf('0000:00:10.0'), { domain: 0, bus: 0, device: 0x10, function: 0 })
  t.deepEqual(parseBdf('00:10.0'), parseBdf('0000:00:10.0'))
  t.deepEqual(parseBdf('ABCD:EF:1F.7'), { domain: 0xabcd, bus: 0xef, device: 0x1f, function: 7 })
  t.is(formatBdf(parseBdf('ABCD:EF:1F.7')), 'abcd:ef:1f.7')
})

test('domains above ffff, as VMD has them', (t) => {
  t.is(parseBdf('10000:e1:00.0').domain, 0x10000)
  t.is(formatBdf(parseBdf('10000:e1:00.0')), '10000:e1:00.0')
})

test('another form is a TypeError that shows the right one', (t) => {
  for (const text of [
    '',
    '0000:00:10',
    '0:00:10.0',
    '000:00:10.0',
    '0000:00:10.0 ',
    '0000:00:1g.0',
    '0000:00:10.00',
    '/sys',
    '123456789:00:10.0',
  ]) {
    t.throws(() => parseBdf(text), { instanceOf: TypeError, message: /0000:00:10\.0/ }, text)
    t.false(isBdf(text), text)
  }
})

test('a number out of range is a RangeError', (t) => {
  t.throws(() => parseBdf('0000:00:20.0'), { instanceOf: RangeError, message: /device number 20/ })
  t.throws(() => parseBdf('0000:00:10.8'), { instanceOf: RangeError, message: /function number 8/ })
  t.true(isBdf('0000:00:20.0'))
})

const address = fc.record({
  domain: fc.integer({ min: 0, max: 0xffffffff }),
  bus: fc.integer({ min: 0, max: 0xff }),
  device: fc.integer({ min: 0, max: 0x1f }),
  function: fc.integer({ min: 0, max: 7 }),
})

test('what is written can be read', (t) => {
  fc.assert(fc.property(address, (value) => t.deepEqual(parseBdf(formatBdf(value)), value)))
})

test('the order is a total one', (t) => {
  fc.assert(
    fc.property(address, address, (a, b) => {
      t.is(Math.sign(compareBdf(a, b)), -Math.sign(compareBdf(b, a)) + 0)
      t.is(compareBdf(a, b) === 0, formatBdf(a) === formatBdf(b))
    }),
  )
})

test('an address whose parts change is the one that was checked', (t) => {
  let asked = 0
  const fickle = {
    domain: 0,
    bus: 0,
    device: 0x10,
    get function() {
      return asked++ === 0 ? 1 : 99
    },
  }
  t.is(formatBdf(fickle), '0000:00:10.1')
})
