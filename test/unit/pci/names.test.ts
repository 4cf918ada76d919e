// Names by number: what is known, what is not, and that every assigned capability id has one.

import test from 'ava'
import { CAPABILITY_NAMES, EXTENDED_CAPABILITY_NAMES } from '../../../ts/pci/capability-names.js'
import { className, vendorName } from '../../../ts/pci/names.js'

test('vendors', (t) => {
  for (const id of [0x8086, 0x10de, 0x1002, 0x1022, 0x1234, 0x1b36, 0x1af4]) t.not(vendorName(id), null)
  t.is(vendorName(0x8086), 'Intel')
  t.is(vendorName(0xdead), null)
})

test('classes: subclass, else base class, else nothing', (t) => {
  t.is(className(0x010802), 'Non-Volatile memory controller')
  t.is(className(0x030000), 'VGA compatible controller')
  t.is(className(0x030200), '3D controller')
  t.is(className(0x0c7700), 'Serial bus controller')
  t.is(className(0x00ff00), 'Unclassified device')
  t.is(className(0x420000), null)
})

test('every id up to the last assigned one has a name, and no name stands twice', (t) => {
  for (const [table, last] of [
    [CAPABILITY_NAMES, 0x15],
    [EXTENDED_CAPABILITY_NAMES, 0x31],
  ] as const) {
    const entries: [string, readonly [string, string]][] = Object.entries(table)
    t.deepEqual(
      entries.map(([id]) => Number(id)),
      Array.from({ length: last + 1 }, (_, id) => id),
    )
    t.is(new Set(entries.map(([, [name]]) => name)).size, entries.length)
    t.is(new Set(entries.map(([, [, title]]) => title)).size, entries.length)
  }
})
