// Interrupts of a device that no kernel stands behind: they fire into eventfds, are masked and wait, and exclude each other.
import test from 'ava'

import { EventFd, VfioError } from '../../../../ts/index.js'
import { fakeDevice } from '../../../fakes/device.js'
import { until } from '../../support.js'

const INTX = 0
const MSIX = 2

test('vectors fire into eventfds, theirs and given ones', (t) => {
  const { device, hardware } = fakeDevice()
  const msix = device.irq('msix')
  t.is(msix.count, 4)
  t.deepEqual(
    device.irqs().map(({ name }) => name),
    ['intx', 'msi', 'msix', 'req'],
  )
  const [first, second] = msix.enable(2) as [EventFd, EventFd]
  hardware.irqs.fire(MSIX, 1)
  hardware.irqs.fire(MSIX, 1)
  t.deepEqual([first.read(), second.read()], [0, 2])
  using given = new EventFd()
  msix.set(0, given)
  msix.trigger([0, 1])
  t.deepEqual([given.read(), second.read()], [1, 1])
  device[Symbol.dispose]()
  t.deepEqual(hardware.irqs.enabled, [])
  t.true(second.closed)
  t.false(given.closed)
})

test('INTx is masked as it fires, waits, and is let through', (t) => {
  const { device, hardware } = fakeDevice()
  const intx = device.irq('intx')
  const [eventfd] = intx.enable(1) as [EventFd]
  hardware.irqs.fire(INTX)
  hardware.irqs.fire(INTX)
  t.is(eventfd.read(), 1)
  t.true(hardware.irqs.isMasked(INTX))
  intx.unmask()
  t.is(eventfd.read(), 1, 'the one that waited')
  intx.unmask()
  intx.mask()
  hardware.irqs.fire(INTX)
  t.is(eventfd.read(), 0)
  device[Symbol.dispose]()
})

test('a listener is called, and the line is unmasked after it', async (t) => {
  const { device, hardware } = fakeDevice()
  const intx = device.irq('intx')
  let calls = 0
  const listener = intx.listen(() => calls++)
  hardware.irqs.fire(INTX)
  await until(() => calls === 1 && !hardware.irqs.isMasked(INTX))
  hardware.irqs.fire(INTX)
  await until(() => calls === 2)
  t.is(calls, 2)
  listener.close()
  await device.close()
})

test('what is refused says why', (t) => {
  const { device, hardware } = fakeDevice()
  const [msi, msix] = [device.irq('msi'), device.irq('msix')]
  msi.enable(1)
  const both = t.throws(() => msix.enable(1), { instanceOf: VfioError, code: 'EINVAL' })
  t.regex(both.remedy ?? '', /msi is enabled/)
  msi.disable()
  hardware.irqs.spare = 2
  const spare = t.throws(() => msix.enable(4), { instanceOf: VfioError, code: 'ENOSPC' })
  t.is(spare.available, 2)
  const mask = () => {
    msix.mask()
  }
  t.throws(mask, { instanceOf: VfioError, code: 'EINVAL', message: /not enabled|enable\(\)/ })
  t.throws(() => device.irq(5), { instanceOf: VfioError, code: 'EINVAL', message: /irq 5 of the fake/ })
  device[Symbol.dispose]()
})
