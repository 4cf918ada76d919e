// The mapping plan: named cases first, then what holds for every region.

import test from 'ava'
import fc from 'fast-check'
import { type MmapArea, type MmapPlanInput, planMmapAreas } from '../../../ts/device/mmap-plan.js'

const PAGE = 4096

function plan(input: Partial<MmapPlanInput>): MmapArea[] {
  return planMmapAreas({
    size: 0x4000,
    mmap: true,
    sparseAreas: null,
    msixTable: null,
    msixMappable: false,
    pageSize: PAGE,
    ...input,
  })
}

test('the whole region', (t) => {
  t.deepEqual(plan({}), [{ offset: 0, size: 0x4000 }])
})

test('nothing without the flag', (t) => {
  t.deepEqual(plan({ mmap: false }), [])
  t.deepEqual(plan({ mmap: false, sparseAreas: [{ offset: 0, size: PAGE }] }), [])
})

test('nothing of an empty region', (t) => {
  t.deepEqual(plan({ size: 0 }), [])
})

test('a hole for the MSI-X table, in whole pages', (t) => {
  t.deepEqual(plan({ msixTable: { offset: 0x1800, size: 80 } }), [
    { offset: 0, size: 0x1000 },
    { offset: 0x2000, size: 0x2000 },
  ])
  t.deepEqual(plan({ msixTable: { offset: 0, size: 16 } }), [{ offset: 0x1000, size: 0x3000 }])
  t.deepEqual(plan({ msixTable: { offset: 0x3000, size: 16 } }), [{ offset: 0, size: 0x3000 }])
  t.deepEqual(plan({ msixTable: { offset: 0x0ff0, size: 32 } }), [{ offset: 0x2000, size: 0x2000 }])
})

test('a table that already counts in pages gives the same', (t) => {
  t.deepEqual(
    plan({ msixTable: { offset: 0x1000, size: 0x1000 } }),
    plan({ msixTable: { offset: 0x1800, size: 80 } }),
  )
})

test('no hole where the table may be mapped', (t) => {
  t.deepEqual(plan({ msixTable: { offset: 0x1800, size: 80 }, msixMappable: true }), [
    { offset: 0, size: 0x4000 },
  ])
})

test('a table that fills the region leaves nothing', (t) => {
  t.deepEqual(plan({ msixTable: { offset: 0, size: 0x4000 } }), [])
})

test('with 64 KiB pages the hole is a 64 KiB page', (t) => {
  t.deepEqual(plan({ size: 0x40000, pageSize: 0x10000, msixTable: { offset: 0x12000, size: 80 } }), [
    { offset: 0, size: 0x10000 },
    { offset: 0x20000, size: 0x20000 },
  ])
  t.deepEqual(plan({ size: 0x10000, pageSize: 0x10000, msixTable: { offset: 0x2000, size: 80 } }), [])
})

test('a region below a page is mapped as one page when the kernel offers it', (t) => {
  t.deepEqual(plan({ size: 0x100 }), [{ offset: 0, size: PAGE }])
  t.deepEqual(plan({ size: 0x4000, pageSize: 0x10000 }), [{ offset: 0, size: 0x10000 }])
  t.deepEqual(plan({ size: 0x100, mmap: false }), [])
  t.deepEqual(plan({ size: 0x100, msixTable: { offset: 0x80, size: 16 } }), [])
})

test('a BAR above 4 GiB', (t) => {
  const size = 2 ** 38
  t.deepEqual(plan({ size, msixTable: { offset: 2 ** 33 + 0x1800, size: 80 } }), [
    { offset: 0, size: 2 ** 33 + 0x1000 },
    { offset: 2 ** 33 + 0x2000, size: size - 2 ** 33 - 0x2000 },
  ])
})

test('sparse areas are trimmed to pages, inwards', (t) => {
  t.deepEqual(plan({ sparseAreas: [{ offset: 0x0800, size: 0x2000 }] }), [{ offset: 0x1000, size: 0x1000 }])
  t.deepEqual(plan({ sparseAreas: [{ offset: 0x0800, size: 0x1000 }] }), [])
})

test('sparse areas are trimmed to the region', (t) => {
  t.deepEqual(plan({ sparseAreas: [{ offset: 0x2000, size: 0x100000 }] }), [{ offset: 0x2000, size: 0x2000 }])
  t.deepEqual(plan({ sparseAreas: [{ offset: 0x8000, size: 0x1000 }] }), [])
})

test('a sparse area that reaches the end of the region gets its last page whole', (t) => {
  t.deepEqual(plan({ size: 0x1800, sparseAreas: [{ offset: 0x1000, size: 0x800 }] }), [
    { offset: 0x1000, size: 0x1000 },
  ])
})

test('sparse areas are sorted; overlapping ones are joined, touching ones are not', (t) => {
  t.deepEqual(
    plan({
      size: 0x8000,
      sparseAreas: [
        { offset: 0x6000, size: 0x2000 },
        { offset: 0x1000, size: 0x2000 },
        { offset: 0x0000, size: 0x2000 },
        { offset: 0x3000, size: 0x1000 },
      ],
    }),
    [
      { offset: 0, size: 0x3000 },
      { offset: 0x3000, size: 0x1000 },
      { offset: 0x6000, size: 0x2000 },
    ],
  )
})

test('an empty list of sparse areas offers nothing', (t) => {
  t.deepEqual(plan({ sparseAreas: [] }), [])
})

test('the MSI-X table is kept out of sparse areas too', (t) => {
  t.deepEqual(plan({ sparseAreas: [{ offset: 0, size: 0x3000 }], msixTable: { offset: 0x1000, size: 16 } }), [
    { offset: 0, size: 0x1000 },
    { offset: 0x2000, size: 0x1000 },
  ])
})

test('bad numbers are refused', (t) => {
  for (const input of [
    { size: -1 },
    { size: 1.5 },
    { size: Number.NaN },
    { size: 2 ** 60 },
    { pageSize: 0 },
    { pageSize: 3000 },
    { pageSize: -4096 },
    { pageSize: 2 ** 31 },
    { sparseAreas: [{ offset: -1, size: 1 }] },
    { sparseAreas: [{ offset: 0, size: Number.POSITIVE_INFINITY }] },
    { msixTable: { offset: 0.5, size: 16 } },
  ]) {
    t.throws(() => plan(input), { instanceOf: RangeError }, JSON.stringify(input))
  }
})

const area = fc.record({ offset: fc.nat(0x60000), size: fc.nat(0x60000) })
const region = fc.record({
  size: fc.oneof(
    fc.nat(0x50000),
    fc.integer({ min: 4, max: 22 }).map((bits) => 2 ** bits),
  ),
  mmap: fc.constant(true),
  sparseAreas: fc.option(fc.array(area, { maxLength: 6 })),
  msixTable: fc.option(area),
  msixMappable: fc.boolean(),
  pageSize: fc.constantFrom(4096, 16384, 65536),
})

/** Whether the plan has the byte at `offset`. */
function has(areas: readonly MmapArea[], offset: number): boolean {
  return areas.some((mapped) => mapped.offset <= offset && offset < mapped.offset + mapped.size)
}

test('whole pages inside the region, sorted, apart', (t) => {
  fc.assert(
    fc.property(region, (input) => {
      const areas = planMmapAreas(input)
      const limit = Math.ceil(input.size / input.pageSize) * input.pageSize
      let end = 0
      for (const { offset, size } of areas) {
        t.true(size > 0)
        t.is(offset % input.pageSize, 0)
        t.is(size % input.pageSize, 0)
        t.true(offset >= end)
        end = offset + size
      }
      t.true(end <= limit)
    }),
    { numRuns: 2000 },
  )
})

test('a page is mapped exactly when it is offered and holds no part of a forbidden table', (t) => {
  fc.assert(
    fc.property(region, (input) => {
      const areas = planMmapAreas(input)
      const { size, pageSize, msixTable, msixMappable } = input
      const offers = input.sparseAreas ?? [{ offset: 0, size }]
      for (let page = 0; page < size; page += pageSize) {
        const pageEnd = Math.min(page + pageSize, size)
        const holdsTable =
          msixTable !== null &&
          msixTable.size > 0 &&
          msixTable.offset < page + pageSize &&
          msixTable.offset + msixTable.size > page
        const offered = offers.some((offer) => offer.offset <= page && offer.offset + offer.size >= pageEnd)
        // One area has to offer all of a page: the sum of several that each have a part does not count.
        t.is(has(areas, page), offered && (msixMappable || !holdsTable))
      }
    }),
    { numRuns: 2000 },
  )
})

test('planning what was planned changes nothing', (t) => {
  fc.assert(
    fc.property(region, (input) => {
      const areas = planMmapAreas(input)
      t.deepEqual(planMmapAreas({ ...input, sparseAreas: areas }), areas)
    }),
  )
})
