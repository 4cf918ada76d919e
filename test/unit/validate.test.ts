// The checks of arguments: what passes unchanged, and that the message has the bound and the value.
import test from 'ava'

import * as validate from '../../ts/validate.js'

const type = { instanceOf: TypeError }
const range = { instanceOf: RangeError }

test('integer', (t) => {
  t.is(validate.integer(5, 'x', 0, 5), 5)
  for (const wrong of ['5', 5n, null, undefined, {}, true, Symbol('x')])
    t.throws(() => validate.integer(wrong, 'x', 0, 5), type)
  for (const wrong of [-1, 6, 0.5, NaN, Infinity]) {
    t.throws(() => validate.integer(wrong, 'x', 0, 5), {
      ...range,
      message: `x must be a whole number from 0 to 5, not ${String(wrong)}`,
    })
  }
})

test('integer where one value is possible, and where none is', (t) => {
  t.throws(() => validate.integer(2, 'x', 1, 1), { ...range, message: 'x must be 1, not 2' })
  t.throws(() => validate.integer(0, 'x', 0, -1), {
    ...range,
    message: 'x cannot be 0, nor anything else: there is none here',
  })
})

test('shown says what came in', (t) => {
  const cases: [unknown, string][] = [
    [[1, 2], 'an array of 2'],
    [{}, 'an object'],
    [Object.create(null), 'an object'],
    [new Uint8Array(1), 'a Uint8Array'],
    [new Event('x'), 'an Event'],
    [() => undefined, 'a function'],
    [Symbol('x'), 'Symbol(x)'],
  ]
  for (const [value, text] of cases) t.is(validate.shown(value), text)
})

test('what was posted without share()', (t) => {
  class Shared {
    static claim(): Shared {
      return new Shared()
    }
  }
  t.throws(() => validate.instance({}, Shared, 'x'), {
    ...type,
    message:
      'x must be a Shared, not an object; if a Worker posted it, post Shared.share() there and Shared.claim() it here',
  })
  t.throws(() => validate.instance([], Shared, 'x'), {
    ...type,
    message: 'x must be a Shared, not an array of 0',
  })
})

test('internal and onlyNamed', (t) => {
  t.is(validate.internal(5, 'X', 'X.open()'), 5)
  t.throws(() => validate.internal(undefined, 'X', 'X.open()'), {
    ...type,
    message: 'X has no public constructor: call X.open()',
  })
  t.notThrows(() => {
    validate.onlyNamed({ a: 1 }, 'x', ['a', 'b'])
  })
  t.throws(
    () => {
      validate.onlyNamed({ c: 1 }, 'x', ['a', 'b'])
    },
    { ...type, message: 'x has no c; it has a, b' },
  )
})

test('bigint', (t) => {
  t.is(validate.bigint(5n, 'x', 0n, 5n), 5n)
  for (const wrong of [5, '5', null, undefined]) t.throws(() => validate.bigint(wrong, 'x', 0n, 5n), type)
  for (const wrong of [-1n, 6n, 1n << 80n])
    t.throws(() => validate.bigint(wrong, 'x', 0n, 5n), { ...range, message: /from 0n to 5n/ })
})

test('boolean, string, callable, instance, oneOf', (t) => {
  t.true(validate.boolean(true, 'x'))
  t.throws(() => validate.boolean(1, 'x'), type)
  t.is(validate.string('a', 'x'), 'a')
  t.throws(() => validate.string(1, 'x'), type)
  t.throws(() => validate.string('a\0b', 'x'), { ...type, message: /NUL/ })
  const call = (): void => undefined
  t.is(validate.callable(call, 'x'), call)
  t.throws(() => validate.callable({} as never, 'x'), type)
  const map = new Map()
  t.is(validate.instance(map, Map, 'x'), map)
  t.throws(() => validate.instance({}, Map, 'x'), { ...type, message: /must be a Map/ })
  t.is(validate.oneOf('a', 'x', ['a', 'b']), 'a')
  t.throws(() => validate.oneOf('c', 'x', ['a', 'b']), { ...type, message: 'x must be one of a, b, not "c"' })
})

test('options', (t) => {
  t.deepEqual(validate.options(undefined, 'x'), {})
  const given = { a: 1 }
  t.is(validate.options(given, 'x'), given)
  for (const wrong of [null, 5, 'x', () => undefined])
    t.throws(() => validate.options(wrong as never, 'x'), type)
})

test('bytes gives the part that a view shows', (t) => {
  const view = new DataView(Uint8Array.of(1, 2, 3, 4).buffer, 1, 2)
  t.deepEqual([...validate.bytes(view, 'x')], [2, 3])
  t.throws(() => validate.bytes(new ArrayBuffer(1), 'x'), type)
  t.is(validate.bytes(new Uint8Array(0), 'x').length, 0)
  const moved = Uint8Array.of(1)
  structuredClone(moved.buffer, { transfer: [moved.buffer] })
  t.throws(() => validate.bytes(moved, 'x'), {
    ...type,
    message: /x is a view of an ArrayBuffer that was detached/,
  })
})
