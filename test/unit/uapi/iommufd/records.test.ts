// The records of iommufd's queues, decoded from bytes as a kernel would write them, and from fewer.
import test from 'ava'
import fc from 'fast-check'

import { decodeHwInfo } from '../../../../ts/uapi/iommufd/hw-info.js'
import { decodeIommuEvents } from '../../../../ts/uapi/iommufd/iommu-event.js'
import { decodePageRequests, encodePageResponse } from '../../../../ts/uapi/iommufd/page-request.js'
import { flatRanges, rangesFrom } from '../../../../ts/uapi/iova-range.js'

function pageRequest(fields: {
  flags: number
  device: number
  pasid: number
  permissions: number
  address: bigint
}): Uint8Array {
  const bytes = new Uint8Array(40)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, fields.flags, true)
  view.setUint32(4, fields.device, true)
  view.setUint32(8, fields.pasid, true)
  view.setUint32(12, 5, true)
  view.setUint32(16, fields.permissions, true)
  view.setBigUint64(24, fields.address, true)
  view.setUint32(36, 99, true)
  return bytes
}

test('page requests: a PASID only where the kernel says that there is one', (t) => {
  const one = pageRequest({ flags: 3, device: 7, pasid: 4, permissions: 0b0011, address: 0x1000n })
  const other = pageRequest({ flags: 0, device: 8, pasid: 4, permissions: 0b1100, address: 2n ** 63n })
  t.deepEqual(decodePageRequests(Buffer.concat([one, other])), [
    {
      deviceId: 7,
      pasid: 4,
      group: 5,
      last: true,
      read: true,
      write: true,
      execute: false,
      privileged: false,
      address: 0x1000n,
      cookie: 99,
    },
    {
      deviceId: 8,
      pasid: null,
      group: 5,
      last: false,
      read: false,
      write: false,
      execute: true,
      privileged: true,
      address: 2n ** 63n,
      cookie: 99,
    },
  ])
  t.deepEqual(decodePageRequests(one.subarray(0, 39)), [])
})

test('page requests: an answer is the cookie and one of two codes', (t) => {
  t.deepEqual([...encodePageResponse(0x01020304, 'success')], [4, 3, 2, 1, 0, 0, 0, 0])
  t.deepEqual([...encodePageResponse(1, 'invalid')], [1, 0, 0, 0, 1, 0, 0, 0])
})

test('events of a vIOMMU: the note that some were lost has no data', (t) => {
  const bytes = new Uint8Array(8 + 8 + 4)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 1, true)
  view.setUint32(4, 41, true)
  view.setUint32(12, 42, true)
  bytes.set([1, 2, 3, 4], 16)
  t.deepEqual(decodeIommuEvents(bytes, 4), [
    { sequence: 41, lost: true, data: new Uint8Array() },
    { sequence: 42, lost: false, data: Uint8Array.of(1, 2, 3, 4) },
  ])
})

test('whatever the bytes, decoding ends', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 64 }), (bytes, length) => {
      t.true(decodeIommuEvents(bytes, length).length <= bytes.length / 8)
      t.is(decodePageRequests(bytes).length, Math.floor(bytes.length / 40))
    }),
  )
})

test('an IOMMU of a kind that came later keeps its number and its bytes', (t) => {
  const data = Uint8Array.of(1, 2, 3)
  const info = decodeHwInfo({ type: 77, maxPasidLog2: 20, capabilities: 9n, data })
  t.is(info.kind, null)
  t.is(info.type, 77)
  t.is(info.data, data)
  t.is(info.vtd, null)
  t.deepEqual(info.capabilities, {
    dirtyTracking: true,
    pasidExecute: false,
    pasidPrivileged: false,
    atsNotSupported: true,
    raw: 9n,
  })
})

test('ranges go to the addon as a flat list, and come back', (t) => {
  const ranges = [
    { start: 0n, last: 0xfffn },
    { start: 0x2000n, last: 0xffff_ffff_ffff_ffffn },
  ]
  t.deepEqual(flatRanges(ranges), [0n, 0xfffn, 0x2000n, 0xffff_ffff_ffff_ffffn])
  t.deepEqual(rangesFrom(flatRanges(ranges)), ranges)
  t.deepEqual(rangesFrom([1n]), [])
  t.throws(() => flatRanges([{ start: 2n, last: 1n }]), { instanceOf: RangeError, message: /last/ })
  t.throws(() => flatRanges([{ start: -1n, last: 1n }]), { instanceOf: RangeError, message: /start/ })
})
