// Regions and interrupts by name and by bus.
import test from 'ava'

import { hasIrq, irqIndex, irqName, regionIndex, regionName } from '../../../ts/device/names.js'

test('PCI: the kernel’s indices', (t) => {
  t.is(regionIndex('bar0'), 0)
  t.is(regionIndex('config', 'pci'), 7)
  t.is(regionIndex('vga'), 8)
  t.is(regionName(6, 'pci'), 'rom')
  t.is(regionName(16, 'pci'), 'region16')
  t.is(irqIndex('intx'), 0)
  t.is(irqIndex('req', 'pci'), 4)
  t.is(irqName(2, 'pci'), 'msix')
})

test('channel devices and adjunct processors have names of their own', (t) => {
  t.is(regionIndex('config', 'ccw'), 0)
  t.is(regionName(0, 'ccw'), 'config')
  t.is(regionName(1, 'ccw'), 'region1')
  t.deepEqual(
    ['io', 'crw', 'req'].map((name) => irqIndex(name, 'ccw')),
    [0, 1, 2],
  )
  t.is(irqName(1, 'ccw'), 'crw')
  t.deepEqual(
    ['req', 'cfgChg'].map((name) => irqIndex(name, 'ap')),
    [0, 1],
  )
  t.true(hasIrq('req', 'ap'))
  t.false(hasIrq('err', 'ccw'))
  t.throws(() => irqIndex('msi', 'ccw'), { instanceOf: TypeError, message: /io, crw, req/ })
  t.throws(() => regionIndex('bar0', 'ccw'), { instanceOf: TypeError })
})

test('platform devices go by index', (t) => {
  for (const bus of ['platform', 'amba', 'fsl-mc', 'cdx', 'other'] as const) {
    t.is(regionIndex(2, bus), 2)
    t.is(regionName(2, bus), 'region2')
    t.is(irqName(0, bus), 'irq0')
    t.false(hasIrq('req', bus))
    t.throws(() => regionIndex('bar0', bus), { instanceOf: TypeError, message: new RegExp(bus) })
    t.throws(() => irqIndex('req', bus), { instanceOf: TypeError })
  }
})

test('indices have bounds', (t) => {
  t.throws(() => regionIndex(-1), { instanceOf: RangeError })
  t.throws(() => irqIndex(65_536), { instanceOf: RangeError })
  t.throws(() => regionIndex({}), { instanceOf: TypeError })
})
