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
