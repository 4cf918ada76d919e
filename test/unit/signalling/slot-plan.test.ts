// Which parts of a BAR become the guest's memory.
import test from 'ava'
import fc from 'fast-check'

import { planSlots } from '../../../ts/signalling/passthrough/slot-plan.js'

const PAGE = 4096

test('a BAR without anything to trap is one slot', (t) => {
  t.deepEqual(planSlots([{ offset: 0, size: 0x10_0000 }], [], 0x10_0000, PAGE), [
    { offset: 0, size: 0x10_0000 },
  ])
})

test('the pages of the MSI-X table and of its pending bits are left out', (t) => {
  const trapped = [
    { offset: 0x2000, size: 65 * 16 },
    { offset: 0x3000, size: 16 },
  ]
  t.deepEqual(planSlots([{ offset: 0, size: 0x8000 }], trapped, 0x8000, PAGE), [
    { offset: 0, size: 0x2000 },
    { offset: 0x4000, size: 0x4000 },
  ])
})

test('a BAR that is smaller than a page, or ends inside one, is trapped there', (t) => {
  t.deepEqual(planSlots([{ offset: 0, size: PAGE }], [], 256, PAGE), [])
  t.deepEqual(planSlots([{ offset: 0, size: 2 * PAGE }], [], PAGE + 16, PAGE), [{ offset: 0, size: PAGE }])
})

test('property: slots are whole pages inside the BAR and what is mapped, apart from each other and from what is trapped', (t) => {
  const range = fc.record({ offset: fc.nat(0x1_0000), size: fc.nat(0x4000) })
  const area = fc
    .tuple(fc.nat(15), fc.integer({ min: 1, max: 4 }))
    .map(([page, pages]) => ({ offset: page * PAGE, size: pages * PAGE }))
  fc.assert(
    fc.property(
      fc.array(area, { maxLength: 3 }),
      fc.array(range, { maxLength: 4 }),
      fc.integer({ min: 1, max: 0x1_0000 }),
      (areas, trapped, size) => {
        const inOrder = areas
          .sort((a, b) => a.offset - b.offset)
          .filter(
            (each, i, all) =>
              i === 0 || each.offset >= Math.max(...all.slice(0, i).map((b) => b.offset + b.size)),
          )
        const slots = planSlots(inOrder, trapped, size, PAGE)
        const covered = (at: number): boolean =>
          slots.some((slot) => at >= slot.offset && at < slot.offset + slot.size)
        for (const slot of slots) t.true(slot.size > 0 && slot.offset % PAGE === 0 && slot.size % PAGE === 0)
        for (let at = 0; at < 0x2_0000; at += PAGE) {
          const mapped = inOrder.some((each) => at >= each.offset && at < each.offset + each.size)
          const seen = trapped.some(
            (each) => each.size > 0 && each.offset < at + PAGE && each.offset + each.size > at,
          )
          t.is(covered(at), mapped && !seen && at + PAGE <= size)
        }
      },
    ),
  )
})
