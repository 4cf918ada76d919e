// This package's client against this package's server: one device, driven over a socket as one of the kernel's would be.
import test from 'ava'

import { GuestMemory, type Region, VfioDevice } from '../../../ts/index.js'
import { ended, inWorker, message } from '../support.js'
import { connectServed } from './served.js'
import { SERVED } from './served-registers.js'

/** Has the device do something, and waits until it has: 1 when it went well. */
function command(bar: Region, what: number, iova = 0): number {
  bar.write32(SERVED.iova, iova)
  bar.write32(SERVED.done, 0)
  bar.write32(SERVED.command, what)
  return bar.poll32(SERVED.done, { mask: 3, equals: 1, timeoutMicros: 2e6 })
}

async function untilSignalled(read: () => number): Promise<number> {
  for (let i = 0; i < 200; i++) {
    const count = read()
    if (count > 0) return count
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return 0
}

for (const mode of ['loop', 'thread'] as const) {
  test(`registers, memory and interrupts of a device that is served in a ${mode}`, async (t) => {
    const { device } = await connectServed(t, { mode })
    const bar = device.region('bar0')
    t.is(device.config.vendorId, 0x1234)
    t.is(device.config.capability('msix')?.tableSize, 8)
    bar.write32(0, 0x1234_5678)
    t.is(bar.read32(0), 0x1234_5678)
    t.is(bar.read16(2), 0x1234)
    t.is(bar.read8(0), 0x78)
    t.is(bar.read64(0) & 0xffff_ffffn, 0x1234_5678n)
    t.is(bar.poll32(0, { mask: 0xff, equals: 0x78, timeoutMicros: 1e5 }), 0x1234_5678)
    const bytes = Uint8Array.from({ length: 128 }, (_, i) => i)
    bar.write(0x400, bytes)
    const back = new Uint8Array(128)
    bar.read(0x400, back)
    t.deepEqual(back, bytes)

    const memory = device.region('bar2')
    t.true(memory.memoryLike)
    t.deepEqual(memory.mmapAreas, [{ offset: 4096, size: 12288 }])
    device.config.command.memorySpace = true
    memory.write32(8192, 99)
    t.is(new DataView(memory.view(8192, 4096)).getUint32(0, true), 99)
    memory.write32(0, 98)
    t.is(memory.read32(0), 98)
    const large = Uint8Array.from({ length: SERVED.memoryBytes }, (_, i) => i * 31)
    memory.write(0, large)
    const whole = new Uint8Array(SERVED.memoryBytes)
    memory.read(0, whole)
    t.true(Buffer.from(whole.buffer).equals(large))

    const eventfds = device.irq('msix').enable(8)
    for (const vector of [0, 5, 7]) {
      bar.write32(SERVED.vector, vector)
      t.is(command(bar, SERVED.raise), 1)
      t.is(await untilSignalled(() => eventfds[vector]?.read() ?? 0), 1)
    }
    device.irq('msix').disable()
    let heard = 0
    const listener = device.irq('intx').listen(() => {
      heard++
    })
    t.is(command(bar, SERVED.raiseLine), 1)
    t.true((await untilSignalled(() => heard)) >= 1)
    // Each unmasking raises it again while the line is up, and not once it is down.
    const first = heard
    t.true((await untilSignalled(() => heard - first)) >= 1)
    t.is(command(bar, SERVED.lowerLine), 1)
    await new Promise((resolve) => setTimeout(resolve, 100))
    const last = heard
    await new Promise((resolve) => setTimeout(resolve, 200))
    t.is(heard, last)
    listener.close()
    device.irq('intx').disable()
  })

  test(`DMA of a device that is served in a ${mode}, by its memory's descriptor and by message`, async (t) => {
    const { device } = await connectServed(t, { mode })
    const other = await connectServed(t, { mode: 'loop' })
    const bar = device.region('bar0')
    device.config.command.busMaster = true
    const space = device.addressSpace
    using dma = await space.allocate(8192, { iova: 0x10_0000n })
    const seen = new Uint8Array(dma.buffer)
    seen.fill(0x42, 0, 64)
    t.is(command(bar, SERVED.read, 0x10_0000), 1)
    t.is(bar.read32(SERVED.first), 0x42)
    t.is(command(bar, SERVED.write, 0x10_1000), 1)
    t.deepEqual([...seen.subarray(4096, 4098)], [0xa5, 0xa5])

    // A region of another device has no descriptor of its own here: its server asks for it by message.
    other.device.config.command.memorySpace = true
    const peer = other.device.region('bar2')
    peer.write8(4096, 0x77)
    await space.map(peer, { iova: 0x20_0000n, offset: 4096, size: 4096 })
    t.is(command(bar, SERVED.read, 0x20_0000), 1)
    t.is(bar.read32(SERVED.first), 0x77)
    t.is(command(bar, SERVED.write, 0x20_0000), 1)
    t.is(peer.read8(4096), 0xa5)
    // Closing that device takes it from this one.
    await other.device.close()
    t.is(space.mappingCount, 1)

    await space.unmap(0x10_0000n, 8192)
    bar.write32(SERVED.iova, 0x10_0000)
    bar.write32(SERVED.done, 0)
    bar.write32(SERVED.command, SERVED.read)
    t.is(bar.poll32(SERVED.done, { mask: 3, equals: 2, timeoutMicros: 2e6 }), 2)
  })
}

test('reset, features, the log of writes and migration, from one served device to another', async (t) => {
  const { device } = await connectServed(t, { mode: 'thread' })
  const { device: target } = await connectServed(t, { mode: 'loop' })
  const bar = device.region('bar0')
  await device.reset()
  t.is(bar.read32(SERVED.resets), 1)
  const { supported } = { supported: device.features.supported() }
  t.true(supported.migration.get)
  t.true(supported.dmaLoggingReport.get)
  t.false(supported.lowPowerEntry.set)

  device.config.command.busMaster = true
  using memory = GuestMemory.create(8 * 4096)
  await device.addressSpace.map(memory, { iova: 0x10_0000n })
  const tracking = device.addressSpace.dirtyTracking
  tracking.start()
  t.is(command(bar, SERVED.write, 0x10_3000), 1)
  const marks = tracking.bitmap(0x10_0000n, 8 * 4096, 4096)
  t.deepEqual(
    [...Array(8).keys()].filter((page) => marks.has(page)),
    [3],
  )
  t.is(tracking.bitmap(0x10_0000n, 8 * 4096, 4096).count, 0)
  tracking.stop()

  bar.write32(0x40, 0xfeed)
  t.deepEqual(device.migration?.capabilities.stopCopy, true)
  await target.migration?.restore(device.migration?.save() ?? [])
  t.is(device.migration?.state, 'stop')
  await target.migration?.setState('running')
  t.is(target.region('bar0').read32(0x40), 0xfeed)
})

test('a copy into registers is one message, whether it waits for the answer or not', async (t) => {
  for (const postedWrites of [false, true]) {
    const { device } = await connectServed(t, { mode: 'thread' }, { postedWrites })
    const bar = device.region('bar0')
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i ^ 0x5a)
    const [writes, messages] = [bar.read32(SERVED.writes), bar.read32(SERVED.messages)]
    bar.write(0x400, bytes)
    t.is(bar.read32(SERVED.writes), writes + 32)
    // The copy, and two reads.
    t.is(bar.read32(SERVED.messages), messages + 3)
    const back = new Uint8Array(256)
    bar.read(0x400, back)
    t.deepEqual(back, bytes)
  }
})

test('posted writes arrive, though the device is closed at once', async (t) => {
  const { device, path } = await connectServed(t, { mode: 'loop' }, { postedWrites: true })
  const bar = device.region('bar0')
  for (let i = 1; i <= 500; i++) bar.write32(0x40, i)
  await device.close()
  const next = await VfioDevice.connect(path)
  t.is(next.region('bar0').read32(0x40), 500)
  await next.close()
})

test('a doorbell of a served device is rung by its eventfd, and by a write', async (t) => {
  const { device } = await connectServed(t, { mode: 'thread' })
  const bar = device.region('bar0')
  const [bell, ...others] = bar.doorbells
  t.deepEqual(others, [])
  t.like(bell, { offset: SERVED.doorbell, width: 4, match: 1n })
  bell?.eventfd.signal()
  t.is(bar.poll32(SERVED.rings, { mask: 7, equals: 1, timeoutMicros: 1e6 }), 1)
  bar.write32(SERVED.doorbell, 1)
  t.is(bar.poll32(SERVED.rings, { mask: 7, equals: 2, timeoutMicros: 1e6 }), 2)
  t.deepEqual(device.region('bar2').doorbells, [])
  t.deepEqual(device.region('config').doorbells, [])
  await device.close()
  t.true(bell?.eventfd.closed)
})

test('a Worker drives a served device by its token', async (t) => {
  const { device } = await connectServed(t, { mode: 'thread' })
  const worker = inWorker(
    `const device = vfio.VfioDevice.claim(data)
     const bar = device.region('bar0')
     for (let i = 0; i < 1000; i++) {
       bar.write32(0x40, i)
       if (bar.read32(0x40) !== i) throw new Error('another value')
     }
     device.config.command.busMaster = true
     const dma = await device.addressSpace.allocate(4096, { iova: 0x500000n })
     new Uint8Array(dma.buffer).fill(0x5c)
     bar.write32(${String(SERVED.iova)}, 0x500000)
     bar.write32(${String(SERVED.done)}, 0)
     bar.write32(${String(SERVED.command)}, ${String(SERVED.read)})
     bar.poll32(${String(SERVED.done)}, { mask: 3, equals: 1, timeoutMicros: 2e6 })
     port.postMessage(bar.read32(${String(SERVED.first)}))
     await dma.close()
     await device.close()`,
    device.share(),
  )
  t.is(await message(worker), 0x5c)
  t.is(await ended(worker), 0)
  device.region('bar0').write32(0, 1)
  t.is(device.region('bar0').read32(0), 1)
})

test('one client after the other finds the device as it was left', async (t) => {
  const { device, path } = await connectServed(t, { mode: 'loop' })
  device.region('bar0').write32(0x40, 7)
  await device.close()
  const next = await VfioDevice.connect(path)
  t.is(next.region('bar0').read32(0x40), 7)
  await next.close()
})
