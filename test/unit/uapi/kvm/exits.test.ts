// Exits that end a guest: everything that KVM says of them is kept.
import test from 'ava'

import { decodeExit } from '../../../../ts/uapi/kvm/exits.js'

const INTERNAL_ERROR = 17
const FAIL_ENTRY = 9

function page(fill: (view: DataView) => void): DataView {
  const view = new DataView(new ArrayBuffer(8192))
  fill(view)
  return view
}

test('an internal error has its name, all its data and where the guest was', (t) => {
  const window = page((view) => {
    view.setUint32(32, 3, true)
    view.setUint32(36, 4, true)
    for (const [i, word] of [0x8000_0b0en, 2n, 0x1234n, 0xffff_ffff_ffff_ffffn].entries())
      view.setBigUint64(40 + i * 8, word, true)
  })
  t.deepEqual(
    decodeExit(window, INTERNAL_ERROR, () => 0xfff0n),
    {
      reason: 'internal-error',
      suberror: 3,
      name: 'event-delivery',
      data: [0x8000_0b0en, 2n, 0x1234n, 0xffff_ffff_ffff_ffffn],
      instruction: null,
      rip: 0xfff0n,
    },
  )
})

test('an instruction that KVM cannot emulate is shown, as a copy', (t) => {
  const window = page((view) => {
    view.setUint32(32, 1, true)
    view.setUint32(36, 4, true)
    view.setBigUint64(40, 1n, true)
    view.setUint8(48, 3)
    for (const [i, byte] of [0x0f, 0xae, 0x38, 0x99].entries()) view.setUint8(49 + i, byte)
  })
  const exit = decodeExit(window, INTERNAL_ERROR)
  window.setUint8(49, 0)
  t.like(exit, { name: 'emulation', rip: null })
  t.deepEqual(exit.reason === 'internal-error' && exit.instruction, new Uint8Array([0x0f, 0xae, 0x38]))
})

test('more data than KVM has room for is not read, and a suberror without a name has its number', (t) => {
  const exit = decodeExit(
    page((view) => {
      view.setUint32(32, 77, true)
      view.setUint32(36, 0xffff_ffff, true)
    }),
    INTERNAL_ERROR,
  )
  t.like(exit, { suberror: 77, name: 'unknown' })
  t.is(exit.reason === 'internal-error' && exit.data.length, 16)
})

test('an entry that fails has the processor’s reason, which processor, and where', (t) => {
  const window = page((view) => {
    view.setBigUint64(32, 0x8000_0021n, true)
    view.setUint32(40, 5, true)
  })
  t.deepEqual(
    decodeExit(window, FAIL_ENTRY, () => 0x1000n),
    { reason: 'fail-entry', hardwareReason: 0x8000_0021n, cpu: 5, rip: 0x1000n },
  )
})

test('exits that are asked for have what KVM says of them', (t) => {
  const words = (reason: number, ...values: bigint[]) =>
    decodeExit(
      page((view) => {
        for (const [i, value] of values.entries()) view.setBigUint64(32 + i * 8, value, true)
      }),
      reason,
    )
  t.deepEqual(words(0, 7n), { reason: 'unknown-hardware', hardwareReason: 7n })
  t.deepEqual(words(1, 0x5_0000_000dn), { reason: 'exception', exception: 13, errorCode: 5 })
  t.deepEqual(words(4, 1n, 0x1000n, 0x4000n, 0x400n), {
    reason: 'debug',
    exception: 1,
    pc: 0x1000n,
    dr6: 0x4000n,
    dr7: 0x400n,
  })
  t.deepEqual(words(11), { reason: 'set-tpr' })
  t.deepEqual(words(12, 0x10n, 1n), { reason: 'tpr-access', rip: 0x10n, isWrite: true })
  t.deepEqual(words(24, 0x1_0000_0003n, 9n), { reason: 'system-event', type: 3, data: [9n] })
  t.deepEqual(words(31), { reason: 'dirty-ring-full' })
  t.deepEqual(words(32), { reason: 'ap-reset-hold' })
  t.deepEqual(words(33), { reason: 'bus-lock' })
  t.deepEqual(words(37, 1n), { reason: 'notify', contextValid: false })
  t.deepEqual(words(37, 0n), { reason: 'notify', contextValid: true })
  t.deepEqual(words(39, 8n, 0x5000n, 0x1000n), {
    reason: 'memory-fault',
    address: 0x5000n,
    size: 0x1000n,
    isPrivate: true,
  })
  t.deepEqual(words(27, 2n, 1n), { reason: 'hyperv', type: 2, words: [1n, 0n, 0n, 0n, 0n, 0n] })
  t.deepEqual(words(34, 1n), { reason: 'xen', type: 1, words: [0n, 0n, 0n, 0n, 0n, 0n] })
  t.deepEqual(words(4000), { reason: 'unknown', number: 4000 })
})

test('a register that the guest reads is answered or refused in the kernel’s page', (t) => {
  const window = page((view) => {
    view.setUint32(40, 4, true)
    view.setUint32(44, 0x174, true)
  })
  const read = decodeExit(window, 29)
  t.like(read, { reason: 'msr-read', index: 0x174, cause: 'filtered' })
  if (read.reason !== 'msr-read') return
  read.refuse()
  t.is(window.getUint8(32), 1)
  read.answer(0x1234n)
  t.is(window.getUint8(32), 0)
  t.is(window.getBigUint64(48, true), 0x1234n)
  t.throws(
    () => {
      read.answer(1n << 64n)
    },
    { instanceOf: RangeError },
  )
  window.setUint32(40, 2, true)
  const write = decodeExit(window, 30)
  t.like(write, { reason: 'msr-write', index: 0x174, cause: 'unknown', value: 0x1234n })
  if (write.reason === 'msr-write') write.refuse()
  t.is(window.getUint8(32), 1)
})

test('a hypercall has its arguments, and takes an answer', (t) => {
  const window = page((view) => {
    view.setBigUint64(32, 12n, true)
    for (let i = 0; i < 6; i++) view.setBigUint64(40 + i * 8, BigInt(i), true)
    view.setUint32(96, 1, true)
  })
  const exit = decodeExit(window, 3)
  t.like(exit, { reason: 'hypercall', number: 12n, args: [0n, 1n, 2n, 3n, 4n, 5n], longMode: true })
  if (exit.reason === 'hypercall') exit.answer(0x55n)
  t.is(window.getBigUint64(88, true), 0x55n)
})
