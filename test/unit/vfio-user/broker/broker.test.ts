// A broker over a fake device: what a client does reaches the device, and what it leaves is gone before the next one comes.
import test from 'ava'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import { IRQ_ACTION, IRQ_DATA } from '../../../../ts/vfio-user/protocol/constants.js'
import {
  decodeGetInfoReply,
  encodeGetInfo,
  encodeReset,
} from '../../../../ts/vfio-user/protocol/device-info.js'
import { encodeSetIrqs } from '../../../../ts/vfio-user/protocol/irqs.js'
import { VfioDevice } from '../../../../ts/device/device.js'
import { addon } from '../../../../ts/native/index.js'
import { DeviceBroker, UserDeviceServer } from '../../../../ts/vfio-user/index.js'
import { FakeBackend } from '../../../fakes/device.js'
import { fakeSpace } from '../../../fakes/space.js'
import { openDescriptors } from '../transport.js'
import { own, until } from '../server/peer.js'
import { BAR0, BAR2, CONFIG, MSIX, broker, brokered } from './brokered.js'

const PAGE = 4096n

test('registers and configuration space are those of the device', async (t) => {
  const { peer, hardware } = await brokered(t)
  t.is(await peer.read32(CONFIG, 0), 0x11e8_1234)
  await peer.write32(BAR0, 0x10, 0xcafe_f00d)
  t.deepEqual([...hardware.bytes(BAR0).subarray(0x10, 0x14)], [0x0d, 0xf0, 0xfe, 0xca])
  t.is(await peer.read32(BAR0, 0x10), 0xcafe_f00d)
  t.deepEqual([...(await peer.read(BAR0, 0x11, 2))], [0xf0, 0xfe])
  await peer.write(BAR2, 8, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
  t.deepEqual([...hardware.bytes(BAR2).subarray(8, 16)], [1, 2, 3, 4, 5, 6, 7, 8])
})

test('the MSI-X table cannot be reached: reads of it are all ones, and writes go nowhere', async (t) => {
  const { peer, hardware } = await brokered(t)
  await peer.write32(BAR0, 0x1000, 0xfee0_0000)
  t.is(await peer.read32(BAR0, 0x1000), 0xffff_ffff)
  t.is(hardware.bytes(BAR0)[0x1003], 0)
  // Behind it are registers again.
  await peer.write32(BAR0, 0x1040, 5)
  t.is(hardware.bytes(BAR0)[0x1040], 5)
})

test('a device that does not answer reads as all ones, and answers again when it can', async (t) => {
  const { peer, hardware, errors } = await brokered(t)
  await peer.write(CONFIG, 4, Uint8Array.of(2, 0))
  hardware.answers = false
  t.is(await peer.read32(BAR0, 0), 0xffff_ffff)
  hardware.answers = true
  t.is(await peer.read32(BAR0, 0), 0)
  t.deepEqual(errors, [])
})

test("the client's eventfds are signalled by the device, with no message to the broker", async (t) => {
  const { peer, hardware, server } = await brokered(t)
  const eventfds = [own(t, new EventFd()), own(t, new EventFd())]
  t.is((await peer.irqs(MSIX, 1, eventfds)).errno, null)
  const before = server.statistics.messages
  hardware.irqs.fire(MSIX, 2)
  t.is(eventfds[1]?.read(), 1)
  t.is(server.statistics.messages, before)
  // One vector is taken away, then all of them.
  t.is((await peer.irqs(MSIX, 2, [], IRQ_ACTION.trigger, 1)).errno, null)
  hardware.irqs.fire(MSIX, 2)
  t.is(eventfds[1]?.read(), 0)
  hardware.irqs.fire(MSIX, 1)
  t.is(eventfds[0]?.read(), 1)
})

test('the pin is masked, and unmasked by message, at the device', async (t) => {
  const { peer, hardware } = await brokered(t)
  const line = own(t, new EventFd())
  await peer.irqs(0, 0, [line])
  hardware.irqs.fire(0)
  t.is(line.read(), 1)
  t.true(hardware.irqs.isMasked(0))
  const unmask = { data: IRQ_DATA.none, action: IRQ_ACTION.unmask, index: 0, start: 0, count: 1 }
  t.is((await peer.call((view, id) => encodeSetIrqs(view, 0, id, unmask))).errno, null)
  t.false(hardware.irqs.isMasked(0))
})

test('memory is in the IOMMU when the reply to DMA_MAP is there, and gone with the reply to DMA_UNMAP', async (t) => {
  const { peer, host, broker: made } = await brokered(t)
  const memory = own(t, GuestMemory.create(0x4000))
  t.is((await peer.map(memory, 0x10_0000n, 0x2000n, 0x1000n)).errno, null)
  t.is((await peer.map(memory, 0x20_0000n, 0x1000n, 0n, 1)).errno, null)
  t.like(host.mappings, [
    { iova: 0x10_0000n, size: 0x2000n, offset: 0x1000, flags: 3 },
    { iova: 0x20_0000n, size: 0x1000n, offset: 0, flags: 1 },
  ])
  t.is(made.mappedBytes, 0x3000n)
  t.is((await peer.unmap(0x10_0000n, 0x2000n)).errno, null)
  t.like(host.mappings, [{ iova: 0x20_0000n }])
  t.is(host.mappings.length, 1)
})

test('memory of no file is known, and out of reach of the device', async (t) => {
  const { peer, host } = await brokered(t)
  t.is((await peer.map(null, 0xc_0000n, 0x1000n)).errno, null)
  t.deepEqual(host.mappings, [])
  t.is((await peer.unmap(0xc_0000n, 0x1000n)).errno, null)
})

test('what a client left is gone before the next one is answered: DMA, interrupts, memory, registers, BARs', async (t) => {
  const { peer, hardware, host, connect, events } = await brokered(t)
  const memory = own(t, GuestMemory.create(0x4000))
  await peer.map(memory, 0n, 0x4000n)
  await peer.irqs(MSIX, 0, [own(t, new EventFd())])
  await peer.write(CONFIG, 4, Uint8Array.of(6, 0))
  await peer.write32(CONFIG, 0x10, 0x1234_0000)
  await peer.write32(BAR0, 0, 0x5ec2e7)
  t.true(hardware.busMaster)
  peer.close()
  const next = connect()
  t.is((await next.negotiate()).errno, null)
  t.is(hardware.resets, 1)
  t.false(hardware.busMaster)
  t.deepEqual(host.mappings, [])
  t.deepEqual(hardware.irqs.enabled, [])
  t.is(await next.read32(BAR0, 0), 0)
  t.is(await next.read32(CONFIG, 0x10), 0xfe00_0000)
  const order = events.map(({ what }) => what).filter((what) => !['read', 'write'].includes(what))
  t.deepEqual(order, ['connected', 'map', 'interrupts', 'gone', 'reset', 'connected'])
})

test('bus mastering and interrupts are off as soon as a client is gone, whatever the rest waits for', async (t) => {
  const { peer, hardware, host, connect } = await brokered(t)
  const memory = own(t, GuestMemory.create(0x1000))
  await peer.map(memory, 0n, PAGE)
  await peer.irqs(MSIX, 0, [own(t, new EventFd())])
  await peer.write(CONFIG, 4, Uint8Array.of(4, 0))
  let open = (): void => undefined
  hardware.gate = new Promise((resolve) => (open = resolve))
  peer.close()
  await until(() => !hardware.busMaster)
  t.false(hardware.busMaster)
  t.deepEqual(hardware.irqs.enabled, [])
  await until(() => host.mappings.length === 0)
  t.deepEqual(host.mappings, [])
  // The reset takes its time, and the next client waits for it.
  const next = connect()
  const answer = next.negotiate()
  t.is(await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 100, 'waits'))]), 'waits')
  open()
  t.is((await answer).errno, null)
})

test('a client that goes while its memory is being mapped leaves nothing', async (t) => {
  const { peer, host, connect } = await brokered(t)
  const memory = own(t, GuestMemory.create(0x4000))
  let open = (): void => undefined
  host.gate = new Promise((resolve) => (open = resolve))
  void peer.map(memory, 0n, 0x4000n).catch(() => undefined)
  await peer.read32(BAR0, 0).catch(() => undefined)
  peer.close()
  setTimeout(() => {
    open()
  }, 50)
  const next = connect()
  t.is((await next.negotiate()).errno, null)
  t.deepEqual(host.mappings, [])
})

test('a device without a reset is given to one client only, and the next is told why', async (t) => {
  const {
    peer,
    hardware,
    connect,
    broker: made,
    errors,
    events,
  } = await brokered(t, { device: { resettable: false } })
  const reply = await peer.call((view, id) => encodeGetInfo(view, 0, id))
  t.is(decodeGetInfoReply(reply.view, 0, reply.bytes.length)?.flags, 2)
  await peer.write(CONFIG, 4, Uint8Array.of(4, 0))
  peer.close()
  await until(() => made.refusal !== null)
  t.false(hardware.busMaster)
  t.regex(made.refusal?.message ?? '', /has no reset/)
  t.is(events.at(-1)?.what, 'refusing')
  const next = connect()
  t.is((await next.negotiate()).errno, 25)
  await next.ended
  t.true(errors.some(({ message }) => message.includes('has no reset')))
})

test('a device that does not come back from its reset is given to nobody', async (t) => {
  const { peer, hardware, connect, broker: made } = await brokered(t)
  hardware.comesBack = false
  peer.close()
  await until(() => made.refusal !== null)
  t.regex(made.refusal?.message ?? '', /could not be removed/)
  t.not((await connect().negotiate()).errno, null)
})

test('a client resets the device', async (t) => {
  const { peer, hardware } = await brokered(t)
  await peer.write32(BAR0, 0, 7)
  const reply = await peer.call((view, id) => encodeReset(view, 0, id))
  t.is(reply.errno, null)
  t.is(hardware.resets, 1)
  t.is(await peer.read32(BAR0, 0), 0)
})

test('when the kernel asks for the device back, the client is told and the device is closed', async (t) => {
  const { peer, device, events, connect, hardware } = await brokered(t)
  const request = own(t, new EventFd())
  t.is((await peer.irqs(4, 0, [request])).errno, null)
  await Promise.resolve(device.onRequest?.(device))
  t.is(request.read(), 1)
  t.true(device.closed)
  t.true(events.some(({ what }) => what === 'requested'))
  t.is(await peer.read32(BAR0, 0), 0xffff_ffff)
  peer.close()
  t.not((await connect().negotiate()).errno, null)
  t.is(hardware.resets, 1)
})

test('closing the broker takes the device from its client, and leaves it open', async (t) => {
  const { peer, device, hardware, broker: made, server, host } = await brokered(t)
  await peer.map(own(t, GuestMemory.create(0x1000)), 0n, PAGE)
  await peer.write(CONFIG, 4, Uint8Array.of(4, 0))
  server.close()
  await made.close()
  t.false(hardware.busMaster)
  t.deepEqual(host.mappings, [])
  t.is(hardware.resets, 1)
  t.false(device.closed)
  t.is(device.onRequest, null)
})

test('a broker has one server, and is made of endpoints that an IOMMU confines', async (t) => {
  const { device, hardware, broker: made, path } = broker(t)
  t.throws(() => UserDeviceServer.listen(`${path}2`, made), { code: 'EBUSY' })
  t.throws(() => new DeviceBroker(device, { memoryLimit: -1 }), { instanceOf: RangeError })
  t.throws(() => new DeviceBroker(device, { map: ['config' as never] }), { instanceOf: TypeError })
  t.throws(() => new DeviceBroker(device, { policy: 'deny' as never }), { instanceOf: TypeError })
  t.throws(() => new DeviceBroker({} as never), { instanceOf: TypeError })
  // Only the kernel's device has a descriptor.
  t.throws(() => new DeviceBroker(device, { map: ['bar0'] }), { code: 'EOPNOTSUPP' })
  hardware.bytes(CONFIG)[0x0e] = 1
  t.throws(() => new DeviceBroker(device), { instanceOf: RangeError, message: /bridge/ })
  const { space } = fakeSpace({ locate: () => 0n })
  const free = VfioDevice.of(
    { native: addon().eventfdCreate(0, false), backend: (give) => new FakeBackend(give, hardware) },
    { name: 'unconfined', addressSpace: space.closeWithMembers() },
  )
  t.like(
    t.throws(() => new DeviceBroker(free)),
    { code: 'EPERM', reason: 'no-iommu' },
  )
  await free.close()
})

test.serial('a hundred clients leave no descriptor', async (t) => {
  const { connect, host } = broker(t)
  const memory = own(t, GuestMemory.create(0x4000))
  const eventfd = own(t, new EventFd())
  let before = 0
  for (let i = 0; i < 100; i++) {
    const peer = connect()
    await peer.negotiate()
    await peer.map(memory, 0n, 0x4000n)
    await peer.irqs(MSIX, 0, [eventfd, eventfd])
    peer.close()
    if (i > 0) continue
    await until(() => host.mappings.length === 0)
    before = openDescriptors()
  }
  await until(() => host.mappings.length === 0)
  await until(() => openDescriptors() <= before)
  t.true(openDescriptors() <= before)
})
