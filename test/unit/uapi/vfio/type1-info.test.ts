// vfio_iommu_type1_info, decoded from bytes as a kernel would write them, and as none should.
import test from 'ava'
import fc from 'fast-check'

import { capabilityChain } from '../../../../ts/uapi/vfio/chain.js'
import { decodeType1Info, sizesIn } from '../../../../ts/uapi/vfio/type1-info.js'
import { chained } from './chained.js'

const HEAD = 24

test('page sizes, ranges, migration and the mappings left', (t) => {
  const { bytes, view } = chained(HEAD, [
    { id: 2, body: [0, 0, 0x1000n, 0x1000_0000n] },
    { id: 1, body: [2, 0, 0n, 0xfedf_ffffn, 0xfef0_0000n, 0x7f_ffff_ffffn] },
    { id: 99, body: [7] },
    { id: 3, body: [65535] },
  ])
  view.setUint32(4, 3, true)
  view.setBigUint64(8, 0x4020_1000n, true)
  view.setUint32(16, HEAD, true)
  t.deepEqual(decodeType1Info(bytes), {
    pageSizes: [0x1000n, 0x20_0000n, 0x4000_0000n],
    iovaRanges: [
      { start: 0n, last: 0xfedf_ffffn },
      { start: 0xfef0_0000n, last: 0x7f_ffff_ffffn },
    ],
    mappingsAvailable: 65535,
    migration: { pageSizes: [0x1000n], maxBitmapSize: 0x1000_0000n },
  })
})

test('without flags nothing is believed', (t) => {
  const { bytes, view } = chained(HEAD, [{ id: 3, body: [1] }])
  view.setBigUint64(8, 0x1000n, true)
  view.setUint32(16, HEAD, true)
  t.deepEqual(decodeType1Info(bytes), {
    pageSizes: [],
    iovaRanges: [],
    mappingsAvailable: null,
    migration: null,
  })
})

test('a kernel before capabilities sets no flag for them', (t) => {
  const bytes = new Uint8Array(HEAD)
  const view = new DataView(bytes.buffer)
  view.setUint32(4, 1, true)
  view.setBigUint64(8, 0xffff_ffff_ffff_f000n, true)
  t.is(decodeType1Info(bytes).pageSizes.length, 52)
  t.deepEqual(decodeType1Info(bytes).iovaRanges, [])
})

test('loops, backward and outside offsets end the chain', (t) => {
  const { bytes, view } = chained(HEAD, [
    { id: 1, body: [0, 0] },
    { id: 2, body: [0, 0, 0n, 0n] },
  ])
  const ids = (first: number): number[] => capabilityChain(bytes, first).map(({ id }) => id)
  t.deepEqual(ids(HEAD), [1, 2])
  for (const next of [HEAD, 1, HEAD + 16, bytes.length, bytes.length - 7, 0xffff_ffff]) {
    view.setUint32(HEAD + 16 + 4, next, true)
    t.deepEqual(ids(HEAD), [1, 2], String(next))
  }
  for (const first of [0, bytes.length, bytes.length - 7, 0xffff_fff8]) t.deepEqual(ids(first), [])
})

test('a count larger than the bytes is cut, not read beyond', (t) => {
  const { bytes, view } = chained(HEAD, [{ id: 1, body: [0xffff_ffff, 0, 1n, 2n] }])
  view.setUint32(4, 2, true)
  view.setUint32(16, HEAD, true)
  t.deepEqual(decodeType1Info(bytes).iovaRanges, [{ start: 1n, last: 2n }])
})

test('any bytes decode without an exception', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 24, maxLength: 120 }),
      fc.integer({ min: HEAD, max: 130 }),
      (bytes, first) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset)
        view.setUint32(4, 3, true)
        view.setUint32(16, first, true)
        // Ids that are known, more often than chance would have it.
        if (first + 8 <= bytes.length && first % 3 !== 0) view.setUint16(first, (first % 3) + 1, true)
        decodeType1Info(bytes)
      },
    ),
    { numRuns: 2000 },
  )
  t.pass()
})

test('sizesIn lists the powers of two of a bitmap', (t) => {
  t.deepEqual(sizesIn(0n), [])
  t.deepEqual(sizesIn((1n << 63n) | 1n), [1n, 1n << 63n])
})
