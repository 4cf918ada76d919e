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
