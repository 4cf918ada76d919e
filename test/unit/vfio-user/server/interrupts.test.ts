// Interrupts: which eventfds are signalled, and when. The client's side of them is made of eventfds of the test's.
import test from 'ava'
import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { IRQ_ACTION, IRQ_DATA } from '../../../../ts/vfio-user/protocol/constants.js'
import { encodeReset } from '../../../../ts/vfio-user/protocol/device-info.js'
import { type SetIrqs, encodeSetIrqs } from '../../../../ts/vfio-user/protocol/irqs.js'
import { openDescriptors } from '../transport.js'
import { type Peer, connected, own, until } from './peer.js'

const INTX = 0
const MSI = 1
const MSIX = 2

function set(peer: Peer, change: Partial<SetIrqs>, bools?: Uint8Array, fds?: number[]) {
  const whole = { data: IRQ_DATA.none, action: IRQ_ACTION.trigger, index: 0, start: 0, count: 0, ...change }
  return peer.call((view, id) => encodeSetIrqs(view, 0, id, whole, bools), fds)
}

test('a vector is signalled once for each time it is raised', async (t) => {
  const { peer, device, server } = await connected(t, { irqs: { msi: 2, msix: 3 } })
  const vectors = [0, 1, 2].map(() => own(t, new EventFd()))
  t.is(device.interruptMode, null)
  t.is((await peer.irqs(MSIX, 0, vectors)).errno, null)
  t.is(device.interruptMode, 'msix')
  device.raise('msix', 1)
  device.raise('msix', 1)
  device.raise('msix', 2)
  t.deepEqual(
    vectors.map((each) => each.read()),
    [0, 2, 1],
  )
  t.is(server.statistics.signals, 3)
  const msi = own(t, new EventFd())
  await peer.irqs(MSI, 1, [msi])
  device.raise('msi', 1)
  device.raise('msi', 0)
  t.is(msi.read(), 1)
})

test('one vector is given and taken without touching the others', async (t) => {
  const { peer, device } = await connected(t, { irqs: { msix: 3 } })
  const vectors = [0, 1, 2].map(() => own(t, new EventFd()))
  await peer.irqs(MSIX, 0, vectors)
  const other = own(t, new EventFd())
  await peer.irqs(MSIX, 1, [other])
  t.is((await peer.irqs(MSIX, 2, [], IRQ_ACTION.trigger, 1)).errno, null)
  for (const vector of [0, 1, 2]) device.raise('msix', vector)
  t.deepEqual(
    [...vectors, other].map((each) => each.read()),
    [1, 0, 0, 1],
  )
})

test('a vector without an eventfd is pending, shows it, and is signalled with its eventfd', async (t) => {
  const { peer, device } = await connected(t, { irqs: { msix: 70 } })
  device.raise('msix', 65)
  t.is(await peer.read32(0, 2048 + 8), 2)
  const eventfd = own(t, new EventFd())
  await peer.irqs(MSIX, 65, [eventfd])
  t.is(eventfd.read(), 1)
  t.is(await peer.read32(0, 2048 + 8), 0)
  await peer.irqs(MSIX, 65, [eventfd])
  t.is(eventfd.read(), 0)
})

test('an index is switched off with no data, one that is not there too', async (t) => {
  const { peer, device } = await connected(t, { irqs: { msix: 2 } })
  const eventfd = own(t, new EventFd())
  await peer.irqs(MSIX, 0, [eventfd])
  t.is((await set(peer, { index: MSIX })).errno, null)
  t.is(device.interruptMode, null)
  t.is((await set(peer, { index: INTX })).errno, null)
  device.raise('msix', 0)
  t.is(eventfd.read(), 0)
})

test('a client can have vectors signalled itself', async (t) => {
  const { peer } = await connected(t, { irqs: { msix: 3 } })
  const vectors = [0, 1, 2].map(() => own(t, new EventFd()))
  await peer.irqs(MSIX, 0, vectors)
  await set(peer, { index: MSIX, start: 1, count: 2 })
  t.deepEqual(
    vectors.map((each) => each.read()),
    [0, 1, 1],
  )
  await set(peer, { index: MSIX, data: IRQ_DATA.bool, count: 3 }, Uint8Array.of(1, 0, 1))
  t.deepEqual(
    vectors.map((each) => each.read()),
    [1, 0, 1],
  )
})

test('a line is signalled, masked until it was handled, and signalled again while it is up', async (t) => {
  const { peer, device } = await connected(t, { irqs: { intx: true } })
  const eventfd = own(t, new EventFd())
  const unmask = { index: INTX, action: IRQ_ACTION.unmask, count: 1 }
  await peer.irqs(INTX, 0, [eventfd])
  device.raise('intx')
  device.raise('intx')
  t.is(eventfd.read(), 1)
  t.true(device.line)
  t.is(((await peer.read32(7, 4)) >>> 16) & 8, 8)
  await set(peer, unmask)
  t.is(eventfd.read(), 1)
  device.lower()
  await set(peer, unmask)
  t.is(eventfd.read(), 0)
  t.is(((await peer.read32(7, 4)) >>> 16) & 8, 0)
  device.raise('intx')
  t.is(eventfd.read(), 1)
})

test('a line that is up is signalled when its eventfd comes, and when it may go out again', async (t) => {
  const { peer, device } = await connected(t, { irqs: { intx: true } })
  const eventfd = own(t, new EventFd())
  device.raise('intx')
  await peer.irqs(INTX, 0, [eventfd])
  t.is(eventfd.read(), 1)
  await peer.write(7, 4, Uint8Array.of(4, 4))
  await set(peer, { index: INTX, action: IRQ_ACTION.unmask, count: 1 })
  t.is(eventfd.read(), 0)
  await peer.write(7, 4, Uint8Array.of(4, 0))
  t.is(eventfd.read(), 1)
})

test('a mask holds a line back until it is taken away', async (t) => {
  const { peer, device } = await connected(t, { irqs: { intx: true } })
  const eventfd = own(t, new EventFd())
  await peer.irqs(INTX, 0, [eventfd])
  await set(peer, { index: INTX, action: IRQ_ACTION.mask, count: 1 })
  device.raise('intx')
  t.is(eventfd.read(), 0)
  await set(peer, { index: INTX, data: IRQ_DATA.bool, action: IRQ_ACTION.unmask, count: 1 }, Uint8Array.of(0))
  t.is(eventfd.read(), 0)
  await set(peer, { index: INTX, data: IRQ_DATA.bool, action: IRQ_ACTION.unmask, count: 1 }, Uint8Array.of(1))
  t.is(eventfd.read(), 1)
})

test("a guest's end of interrupt comes by an eventfd, as KVM's resample does", async (t) => {
  const { peer, device } = await connected(t, { irqs: { intx: true } })
  const eventfd = own(t, new EventFd())
  const resample = own(t, new EventFd())
  await peer.irqs(INTX, 0, [eventfd])
  t.is((await peer.irqs(INTX, 0, [resample], IRQ_ACTION.unmask)).errno, null)
  device.raise('intx')
  t.is(eventfd.read(), 1)
  let again = 0
  resample.signal()
  await until(() => (again += eventfd.read()) > 0)
  t.is(again, 1)
  device.lower()
  resample.signal()
  await sleep(20)
  t.is(eventfd.read(), 0)
  device.raise('intx')
  t.is(eventfd.read(), 1)
  await peer.irqs(INTX, 0, [], IRQ_ACTION.unmask, 1)
  resample.signal()
  await sleep(20)
  t.is(eventfd.read(), 0)
  t.is(resample.read(), 1)
})

// Alone, since it counts descriptors.
test.serial('what cannot be is refused, with its descriptors closed', async (t) => {
  const { peer, device } = await connected(t, { irqs: { intx: true, msix: 2 } })
  const eventfd = own(t, new EventFd())
  const other = openSync('/dev/zero', 'r')
  t.teardown(() => closeSync(other))
  const before = openDescriptors()
  const fd = [eventfd.fd]
  const wrong: [Partial<SetIrqs>, number[]][] = [
    [{ data: IRQ_DATA.eventfd, index: MSIX, start: 2, count: 1 }, fd],
    [{ data: IRQ_DATA.eventfd, index: MSIX, count: 2 }, fd],
    [{ data: IRQ_DATA.eventfd, index: MSIX, count: 1 }, [eventfd.fd, eventfd.fd]],
    [{ data: IRQ_DATA.eventfd, index: 5, count: 1 }, fd],
    [{ data: IRQ_DATA.none, index: MSIX, count: 1 }, fd],
    [{ data: IRQ_DATA.eventfd, index: MSIX, count: 2 }, [eventfd.fd, other]],
    [{ data: IRQ_DATA.eventfd, action: IRQ_ACTION.mask, index: INTX, count: 1 }, fd],
    [{ data: IRQ_DATA.none, action: IRQ_ACTION.mask, index: MSIX, count: 1 }, []],
    [{ data: IRQ_DATA.none, index: MSI, count: 1 }, []],
    [{ data: IRQ_DATA.none, index: 0xffff, count: 0 }, []],
  ]
  for (const [change, fds] of wrong)
    t.is((await set(peer, change, undefined, fds)).errno, 22, JSON.stringify(change))
  t.is(device.interruptMode, null)
  t.is(openDescriptors(), before)
})

test('an interrupt that the device has not is refused to its author', async (t) => {
  const { device } = await connected(t, { irqs: { msix: 2 } })
  t.throws(() => device.raise('msix', 2), { message: /It has 2 of them/ })
  t.throws(() => device.raise('intx'), { message: /It has 0 of them/ })
  t.throws(() => device.raise('nmi' as never), { instanceOf: TypeError })
  t.throws(() => device.raise('msix', 0.5), { instanceOf: RangeError })
  t.throws(() => device.lower('msix' as never), { instanceOf: TypeError })
})

test('an eventfd that is full does no harm', async (t) => {
  const { peer, device } = await connected(t, { irqs: { msix: 1 } })
  const eventfd = own(t, new EventFd())
  await peer.irqs(MSIX, 0, [eventfd])
  eventfd.giveBack(2 ** 63)
  eventfd.giveBack(2 ** 62)
  for (let i = 0; i < 1023; i++) eventfd.giveBack(2 ** 52)
  eventfd.giveBack(2 ** 52 - 2)
  t.throws(() => eventfd.signal(), { message: /EAGAIN/ })
  t.notThrows(() => device.raise('msix', 0))
})

test('a reset lowers the line and forgets what is pending, and the eventfds stay', async (t) => {
  const { peer, device } = await connected(t, { irqs: { intx: true, msix: 2 } })
  const eventfd = own(t, new EventFd())
  await peer.irqs(MSIX, 0, [eventfd])
  device.raise('msix', 1)
  device.raise('intx')
  await peer.call((view, id) => encodeReset(view, 0, id))
  t.false(device.line)
  t.is(await peer.read32(0, 2048), 0)
  device.raise('msix', 0)
  t.is(eventfd.read(), 1)
})

test('the author is told when the client takes other interrupts, or writes the command register', async (t) => {
  const modes: unknown[] = []
  const { peer, device } = await connected(t, {
    irqs: { msix: 1 },
    onCommand: () => modes.push([device.interruptMode, device.config.command.busMaster]),
  })
  await peer.irqs(MSIX, 0, [own(t, new EventFd())])
  await peer.write(7, 4, Uint8Array.of(0))
  t.deepEqual(modes.slice(-2), [
    ['msix', true],
    ['msix', false],
  ])
})
