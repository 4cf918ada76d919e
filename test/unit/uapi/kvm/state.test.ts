// State structures: what is decoded is encoded again, byte for byte, and bad members are named.
import test from 'ava'

import { decodeClock, encodeClock } from '../../../../ts/uapi/kvm/clock.js'
import { decodeCoalesced } from '../../../../ts/uapi/kvm/coalesced.js'
import {
  decodeDebugRegisters,
  encodeDebugRegisters,
  encodeGuestDebug,
} from '../../../../ts/uapi/kvm/debug.js'
import { decodeDirtyEntries } from '../../../../ts/uapi/kvm/dirty-ring.js'
import { decodeEvents, encodeEvents } from '../../../../ts/uapi/kvm/events.js'
import {
  decodeFpu,
  decodeXcrs,
  decodeXsave,
  encodeFpu,
  encodeXcrs,
  encodeXsave,
} from '../../../../ts/uapi/kvm/fpu.js'
import { decodeIoapic, decodePic, encodeIoapic, encodePic } from '../../../../ts/uapi/kvm/irqchips.js'
import { LAPIC, LapicState } from '../../../../ts/uapi/kvm/lapic.js'
import { decodeMsrs, encodeMsrs, firmwareMtrrs, flatMsrRanges } from '../../../../ts/uapi/kvm/msrs.js'
import { decodePit, encodePit } from '../../../../ts/uapi/kvm/pit.js'

/** Bytes that differ from their neighbours. */
function pattern(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 37 + 11) & 0xff)
}

/** The places where two buffers differ. */
function differences(a: Uint8Array, b: Uint8Array): number[] {
  return [...a.keys()].filter((i) => a[i] !== b[i])
}

test('the FPU: every member is written where it was read, and nothing else', (t) => {
  const bytes = pattern(416)
  const fpu = decodeFpu(bytes)
  const copy = new Uint8Array(416)
  encodeFpu(copy, fpu)
  // Two paddings of the kernel's.
  t.deepEqual(differences(bytes, copy), [133, 412, 413, 414, 415])
  t.is(fpu.mxcsr, new DataView(bytes.buffer).getUint32(408, true))
  t.throws(() => encodeFpu(copy, { xmm: [1 as never, ...fpu.xmm.slice(1)] }), { instanceOf: TypeError })
  t.throws(() => encodeFpu(copy, { fpr: fpu.fpr.map(() => new Uint8Array(10)) }), { message: /16 bytes/ })
})

test('XSAVE and XCRs: components are in the header, lists have bounds', (t) => {
  const bytes = pattern(4096)
  const area = decodeXsave(bytes)
  t.is(area.components, new DataView(bytes.buffer).getBigUint64(512, true))
  t.deepEqual(encodeXsave(area), bytes)
  const changed = encodeXsave({ ...area, components: 3n })
  t.is(decodeXsave(changed).components, 3n)
  t.is(bytes[512], pattern(4096)[512], 'the argument stays')
  const xcrs = [{ index: 0, value: 7n }]
  t.deepEqual(decodeXcrs(encodeXcrs(xcrs)), xcrs)
  t.throws(() => encodeXcrs(Array.from({ length: 17 }, () => ({ index: 0, value: 1n }))), {
    instanceOf: RangeError,
  })
})

test('events: what is not named is not set', (t) => {
  const bytes = new Uint8Array(64)
  encodeEvents(bytes, {
    exception: { injected: true, vector: 14, hasErrorCode: true, errorCode: 6 },
    nmi: { masked: true },
  })
  const view = new DataView(bytes.buffer)
  t.is(view.getUint32(20, true), 0)
  t.like(decodeEvents(bytes).exception, { injected: true, vector: 14, hasErrorCode: true, errorCode: 6 })
  encodeEvents(bytes, { nmi: { pending: true }, sipiVector: 0x9a, interrupt: { shadow: 2 }, smi: {} })
  t.is(view.getUint32(20, true), 1 | 2 | 4 | 8)
  t.is(decodeEvents(bytes).sipiVector, 0x9a)
  // What the kernel said of features stays; what it said is valid does not.
  view.setUint32(20, 0x3f, true)
  encodeEvents(bytes, {})
  t.is(view.getUint32(20, true), 0x30)
  t.throws(
    () => {
      encodeEvents(bytes, { sipiVector: 256 })
    },
    { instanceOf: RangeError },
  )
  t.throws(
    () => {
      encodeEvents(bytes, { interrupt: { shadow: 4 } })
    },
    { instanceOf: RangeError },
  )
  t.throws(
    () => {
      encodeEvents(bytes, { nmi: { masked: 1 as never } })
    },
    {
      instanceOf: TypeError,
      message: /events\.nmi\.masked/,
    },
  )
})

test('debugging: DR7 says which, what and how wide', (t) => {
  const bytes = encodeGuestDebug({
    hardwareBreakpoints: [
      { address: 0x1000n },
      { address: 0x2008n, on: 'write', length: 8 },
      { address: 0x3004n, on: 'access', length: 4 },
    ],
  })
  const view = new DataView(bytes.buffer)
  t.is(view.getUint32(0, true), 0x2_0001)
  t.is(view.getBigUint64(8 + 8, true), 0x2008n)
  // Global enables of 0, 1 and 2; write of 8 bytes is 1001, access of 4 is 1111.
  t.is(view.getBigUint64(8 + 56, true), 0x0f90_062an)
  t.deepEqual(encodeGuestDebug(null), new Uint8Array(72))
  t.is(encodeGuestDebug({ singleStep: true, softwareBreakpoints: true, blockInterrupts: true })[2], 0x11)
  const refused = (breakpoint: object): void => {
    t.throws(() => encodeGuestDebug({ hardwareBreakpoints: [breakpoint as never] }))
  }
  refused({ address: 0x1001n, on: 'write', length: 2 })
  refused({ address: 0x1000n, length: 2 })
  refused({ address: 0x1000n, on: 'write', length: 3 })
  refused({ address: 0x1000n, on: 'toString' })
  t.throws(() =>
    encodeGuestDebug({ hardwareBreakpoints: Array.from({ length: 5 }, () => ({ address: 0n })) }),
  )
  const registers = new Uint8Array(128)
  encodeDebugRegisters(registers, { addresses: [1n, 2n, 3n, 4n], dr6: 5n, dr7: 6n })
  t.deepEqual(decodeDebugRegisters(registers), { addresses: [1n, 2n, 3n, 4n], dr6: 5n, dr7: 6n })
  t.throws(
    () => {
      encodeDebugRegisters(registers, { addresses: [1n] as never })
    },
    { instanceOf: RangeError },
  )
})

test('the clock: times that KVM does not tell are null', (t) => {
  const bytes = new Uint8Array(48)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, 5n, true)
  t.deepEqual(decodeClock(bytes), { nanoseconds: 5n, stable: false, realtime: null, hostTsc: null })
  view.setUint32(8, 2 | 4 | 8, true)
  view.setBigUint64(16, 6n, true)
  view.setBigUint64(24, 7n, true)
  t.deepEqual(decodeClock(bytes), { nanoseconds: 5n, stable: true, realtime: 6n, hostTsc: 7n })
  t.deepEqual(decodeClock(encodeClock({ nanoseconds: 9n, realtime: 8n })).realtime, 8n)
  t.throws(() => encodeClock({ nanoseconds: -1n }), { instanceOf: RangeError })
})

test('timer and chips: every member is written where it was read', (t) => {
  const bytes = pattern(112)
  // A count and a mode that the timer can have.
  for (const channel of [0, 24, 48]) {
    new DataView(bytes.buffer).setUint32(channel, 0x1234, true)
    bytes[channel + 13] = 3
  }
  const copy = new Uint8Array(112)
  encodePit(copy, decodePit(bytes))
  t.deepEqual(differences(bytes.subarray(0, 72), copy.subarray(0, 72)), [])
  t.is(copy[72], (bytes[72] as number) & 3)
  const pic = pattern(16)
  const picCopy = new Uint8Array(512)
  encodePic(picCopy, decodePic(pic))
  t.deepEqual(picCopy.subarray(0, 16), pic)
  const ioapic = pattern(216)
  const ioapicCopy = new Uint8Array(512)
  encodeIoapic(ioapicCopy, decodeIoapic(ioapic))
  t.deepEqual(differences(ioapic, ioapicCopy), [20, 21, 22, 23])
  t.throws(
    () => {
      encodeIoapic(ioapicCopy, { redirections: [] })
    },
    { instanceOf: RangeError },
  )
})

test('the local APIC: registers of 32 bits, and bits of 256', (t) => {
  const lapic = new LapicState(new Uint8Array(1024))
  lapic.write(LAPIC.INTERRUPT_REQUEST + 0x20, 1 << 5)
  t.true(lapic.requested(69))
  t.false(lapic.requested(68) || lapic.inService(69))
  t.throws(() => lapic.read(4), { instanceOf: RangeError, message: /multiple of 16/ })
  t.throws(() => lapic.read(1024), { instanceOf: RangeError })
  t.throws(
    () => {
      lapic.write(0x20, -1)
    },
    { instanceOf: RangeError },
  )
  t.throws(() => lapic.requested(256), { instanceOf: RangeError })
  t.throws(() => new LapicState(new Uint8Array(1023)), { instanceOf: RangeError })
})

test('model-specific registers: entries and filters as the kernel has them', (t) => {
  const entries = [{ index: 0xc000_0080, value: 0x500n }, ...firmwareMtrrs()]
  t.deepEqual(decodeMsrs(encodeMsrs(entries)), entries)
  const bitmap = Uint8Array.of(1)
  t.deepEqual(flatMsrRanges([{ base: 0x10, bitmap, write: false }]), [1, 0x10, bitmap])
  t.throws(() => encodeMsrs([{ index: -1, value: 0n }]), { message: /entries\[0\]\.index/ })
})

test('rings: entries are decoded, and lengths that cannot be are cut', (t) => {
  const dirty = new Uint8Array(16)
  const dirtyView = new DataView(dirty.buffer)
  dirtyView.setUint32(4, 0x1_0003, true)
  dirtyView.setBigUint64(8, 9n, true)
  t.deepEqual(decodeDirtyEntries(dirty), [{ slot: 3, page: 9n }])
  const write = new Uint8Array(24)
  const view = new DataView(write.buffer)
  view.setBigUint64(0, 0xd000_0000n, true)
  view.setUint32(8, 0xffff_ffff, true)
  t.is(decodeCoalesced(write)[0]?.data.length, 8)
})
