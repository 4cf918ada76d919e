// What a VMM's policy may answer, and what becomes of an answer that is none.
import test from 'ava'

import {
  type PassthroughPolicy,
  readByPolicy,
  writeByPolicy,
} from '../../../ts/signalling/passthrough/policy.js'

test('an answer replaces what is read and what is written, or lets it be', (t) => {
  const target = Uint8Array.of(1, 2)
  t.false(readByPolicy(null, 'config', 0, target))
  t.false(
    readByPolicy(() => undefined, 'config', 0, target),
    'nothing is allow',
  )
  t.true(readByPolicy(() => ({ replace: 0x1_abcdn }), 'config', 0, target))
  t.deepEqual(target, Uint8Array.of(0xcd, 0xab), 'the lowest bytes of it')
  t.true(readByPolicy(() => 'deny', 'config', 0, target))
  t.deepEqual(target, Uint8Array.of(0xff, 0xff))
  t.is(
    writeByPolicy(() => 'deny', 'config', 0, target),
    null,
  )
  const seen: unknown[] = []
  const written = writeByPolicy(
    (access) => (seen.push(access), { replace: 3n }),
    'bar0',
    8,
    Uint8Array.of(1, 1),
  )
  t.deepEqual(written, Uint8Array.of(3, 0))
  t.deepEqual(seen, [{ space: 'bar0', offset: 8, size: 2, written: 0x101n }])
})

test('an answer that is none is a TypeError that says what may be answered', (t) => {
  for (const answer of [1, 'no', {}, { replace: 1 }, { replace: '1' }, []]) {
    const policy = (() => answer) as unknown as PassthroughPolicy
    const message = /policy must answer 'allow', 'deny' or \{ replace: a bigint \}/
    const expected = { instanceOf: TypeError, message }
    t.throws(() => readByPolicy(policy, 'config', 0, new Uint8Array(4)), expected)
    t.throws(() => writeByPolicy(policy, 'config', 0, new Uint8Array(4)), expected)
  }
})
