// A device behind a vfio-user socket, over a server that behaves: everything that a VfioDevice has, as far as no kernel is needed.
import test from 'ava'

import { EventFd, GuestMemory } from '../../../ts/index.js'
import { COMMAND } from '../../../ts/vfio-user/protocol/constants.js'
import { ended, inWorker, message } from '../support.js'
import { connectTo, refusal, refusalOf } from './quirky.js'
import { BAR0, GO, REGISTER } from './quirks.js'

test('a device says what its server said of it', async (t) => {
  const device = await connectTo(t)
  t.deepEqual(
    { ...device.info, capabilities: [] },
    { flags: 3, bus: 'pci', resettable: true, numRegions: 9, numIrqs: 5, capabilities: [] },
  )
  t.regex(device.name, /^user:\//)
  t.is(device.config.vendorId, 0x1234)
  t.is(device.region('bar0').size, BAR0)
  t.deepEqual(
    device.regions().map(({ name }) => name),
    ['bar0', 'bar2', 'config'],
  )
  t.is(device.irq('msix').count, 4)
  t.is(device.condition, 'ready')
  t.is(device.opened, null)
})

test('registers are read and written by messages, in every width', async (t) => {
  const bar = (await connectTo(t)).region('bar0')
  bar.write8(0, 0x11)
  bar.write16(2, 0x2233)
  bar.write32(4, 0x4455_6677)
  bar.write64(8, 0x8899_aabb_ccdd_eeffn)
  t.is(bar.read8(0), 0x11)
  t.is(bar.read16(2), 0x2233)
  t.is(bar.read32(4), 0x4455_6677)
  t.is(bar.read64(8), 0x8899_aabb_ccdd_eeffn)
  t.is(bar.read32Relaxed(4), 0x4455_6677)
  t.is(bar.poll32(4, { mask: 0xff, equals: 0x77, timeoutMicros: 1e6 }), 0x4455_6677)
  t.is(refusal(t, () => bar.poll32(4, { mask: 1, equals: 0, timeoutMicros: 1000 })).code, 'ETIMEDOUT')
  t.throws(() => bar.read32(BAR0), { instanceOf: RangeError })
  t.is(bar.counters.fileAccesses > 8, true)
})

test('bytes go in registers of their width, and memory in long messages', async (t) => {
  const device = await connectTo(t, {}, { guard: false })
  const bytes = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) & 0xff)
  for (const name of ['bar0', 'bar2'] as const) {
    const bar = device.region(name)
    bar.write(0x400, bytes.subarray(0, 1000))
    const back = new Uint8Array(1000)
    bar.read(0x400, back)
    t.deepEqual(back, bytes.subarray(0, 1000))
    t.is(bar.counters.fileAccesses, name === 'bar0' ? 250 : 2)
  }
})

test('what the server gives a descriptor for is mapped, and seen by both', async (t) => {
  const device = await connectTo(t, { areas: [[4096, 8192]] })
  const bar = device.region('bar2')
  t.deepEqual(bar.mmapAreas, [{ offset: 4096, size: 8192 }])
  bar.write32(4096, 0x1234_5678)
  t.is(bar.read32(4096), 0x1234_5678)
  t.is(bar.counters.fileAccesses, 0)
  bar.write32(0, 7)
  t.is(bar.read32(0), 7)
  t.is(bar.counters.fileAccesses, 2)
  const view = new DataView(bar.view(4096, 4096))
  t.is(view.getUint32(0, true), 0x1234_5678)
  t.is(refusal(t, () => bar.view(0, 4096)).reason, 'not-mapped')
})

test('a file that the server cuts short reads as all ones from then on', async (t) => {
  const device = await connectTo(t)
  const bar = device.region('bar2')
  bar.write32(0, 5)
  t.is(bar.read32(0), 5)
  device.region('bar0').write8(REGISTER.shrink, 1)
  t.is(bar.read32(0), 0xffff_ffff)
  t.true(bar.faulted)
})

test('interrupts come by eventfd, however many descriptors a message may have', async (t) => {
  const device = await connectTo(t)
  const msix = device.irq('msix')
  const eventfds = msix.enable(4)
  for (const [vector, eventfd] of eventfds.entries()) {
    device.region('bar0').write8(REGISTER.fire, vector)
    t.is(eventfd.read(), 1)
  }
  msix.trigger([1, 3])
  t.deepEqual(
    eventfds.map((each) => each.read()),
    [0, 1, 0, 1],
  )
  msix.trigger(2)
  t.is(eventfds[2]?.read(), 1)
  msix.set(1, null)
  device.region('bar0').write8(REGISTER.fire, 1)
  t.is(eventfds[1]?.closed, true)
  using own = new EventFd()
  msix.set(1, own)
  device.region('bar0').write8(REGISTER.fire, 1)
  t.is(own.read(), 1)
  msix.disable()
  using intx = new EventFd()
  device.irq('intx').enable([intx])
  device.irq('intx').mask()
  device.irq('intx').unmask()
  device.irq('intx').setUnmaskEventFd(own)
  device.irq('intx').disable()
})

test('memory is shown to the server, which reads and writes it by message, waiting for a reply or not', async (t) => {
  for (const twin of [false, true]) {
    const device = await connectTo(t, { twin })
    const bar = device.region('bar0')
    const space = device.addressSpace
    const dma = await space.allocate(8192, { iova: 0x10_0000n })
    const bytes = new Uint8Array(dma.buffer)
    const ask = (write: number, iova: bigint, count: number, go: number): number => {
      bar.write64(REGISTER.iova, iova)
      bar.write32(REGISTER.count, count)
      bar.write32(REGISTER.write, write)
      bar.write32(REGISTER.go, go)
      if (go !== GO.later) return bar.read32(REGISTER.result)
      // Nobody is in a call meanwhile.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
      return bar.read32(REGISTER.result)
    }
    for (const go of [GO.before, GO.after, GO.later]) {
      bytes.fill(0x30 + go, 4090, 4110)
      t.is(ask(0, 0x10_0000n + 4090n, 20, go), 0)
      t.is(bar.read8(REGISTER.window), 0x30 + go)
      bar.write8(REGISTER.window + 1, 0x50 + go)
      t.is(ask(1, 0x10_0000n, 16, go), 0)
      t.is(bytes[1], 0x50 + go)
      t.is(ask(0, 0x20_0000n, 16, go), 19, 'outside')
      t.is(ask(0, 0x10_0000n + 8190n, 4, go), 19, 'past the end')
      t.is(ask(0, 0xffff_ffff_ffff_fff8n, 16, go), 19, 'around')
      t.is(ask(0, 0x10_0000n, 0x7fff_ffff, go), 7, 'too large')
      t.is(ask(1, 0x10_0000n, 2048, go), 22, 'short')
      t.is(ask(111, 0n, 0, go), 38, 'no such command')
      t.is(ask(101 - 90, 0n, 0, go), 0, 'nothing')
    }
    const memory = GuestMemory.create(4096)
    await space.map(memory, { iova: 0x30_0000n, write: false })
    t.is(ask(1, 0x30_0000n, 16, GO.before), 19, 'to memory that it may only read')
    t.is(ask(0, 0x30_0000n, 16, GO.before), 0)
    t.is(await space.unmap(0x30_0000n, 4096), 4096n)
    t.is(ask(0, 0x30_0000n, 16, GO.before), 19, 'unmapped')
    await dma.close()
    t.is(ask(0, 0x10_0000n, 16, GO.before), 19, 'closed')
  }
})

test('an address space has the limits that the server names', async (t) => {
  const text = JSON.stringify({ capabilities: { max_dma_maps: 2, pgsizes: 4096 | 0x20_0000 } })
  const { addressSpace: space } = await connectTo(t, { version: text })
  t.deepEqual(space.pageSizes, [4096n, 0x20_0000n])
  t.is(space.mappingsAvailable, 2)
  using memory = GuestMemory.create(3 * 4096)
  const first = await space.map(memory, { size: 4096 })
  t.is(first, 4096n)
  t.is(space.mapSync(memory, { offset: 4096, size: 4096 }), 8192n)
  t.is(space.mappingCount, 2)
  t.is((await refusalOf(t, () => space.map(memory, { offset: 8192 }))).reason, 'mapping-limit')
  t.is(space.unmapSync(4096n, 4096), 4096n)
  t.is((await refusalOf(t, () => space.map(memory, { iova: 8192n, size: 4096 }))).code, 'EEXIST')
  await space.mapFile(memory, { iova: 0x1_0000n, size: 8192 })
  t.is((await refusalOf(t, () => space.unmap(0x1_0000n, 4096))).code, 'EINVAL')
  t.is(space.unmapAll(), 3n * 4096n)
  await t.throwsAsync(space.map(new Uint8Array(4096)), { instanceOf: RangeError })
  t.throws(() => space.allowIovas([1] as never), { instanceOf: TypeError })
  space.allowIovas([{ start: 0x50_0000n, last: 0x5f_ffffn }])
  t.is(await space.mapFile(memory), 0x50_0000n)
  t.is((await refusalOf(t, () => space.copy(space, 0x50_0000n, 4096))).code, 'EOPNOTSUPP')
})

test('reset, features, the log of DMA writes and migration work by messages', async (t) => {
  const device = await connectTo(t)
  const bar = device.region('bar0')
  bar.write32(0, 77)
  await device.reset()
  t.is(bar.read32(0), 0)
  bar.write32(0, 78)
  device.resetSync()
  t.is(bar.read32(0), 0)
  t.deepEqual(device.features.supported().dmaLoggingStart, { get: true, set: true })
  t.deepEqual(device.features.supported().lowPowerEntry, { get: false, set: false })
  t.is(new DataView(device.features.raw(1, 1 << 16, new Uint8Array(8)).buffer).getUint32(0, true), 5)
  const log = device.features.dmaLogging
  t.is(log.start({ ranges: [{ iova: 0n, size: 1 << 20 }], pageSize: 4096 }), 4096)
  t.is(log.report(0n, 1 << 20).count, 1)
  log.stop()
  bar.write32(0, 0xabcd)
  const chunks: Uint8Array[] = []
  for await (const chunk of device.migration?.save({ chunkSize: 1000 }) ?? []) chunks.push(chunk)
  t.is(
    chunks.reduce((sum, { length }) => sum + length, 0),
    BAR0,
  )
  t.is(device.migration?.state, 'stop')
  bar.write32(0, 0)
  await device.migration?.restore(chunks)
  t.is(bar.read32(0) & 0xffff, 0xabcd)
  const again: Uint8Array[] = []
  await device.migration?.setState('running')
  for await (const chunk of device.migration?.save({ preCopy: true }) ?? []) again.push(chunk)
  t.is(
    again.reduce((sum, { length }) => sum + length, 0),
    2 * BAR0,
  )
})

test('dirty tracking sees what the server wrote, and what was mapped later counts as written', async (t) => {
  const device = await connectTo(t)
  const bar = device.region('bar0')
  const tracking = device.addressSpace.dirtyTracking
  using memory = GuestMemory.create(16 * 4096)
  await device.addressSpace.map(memory, { iova: 0x10_0000n, size: 8 * 4096 })
  t.is(refusal(t, () => tracking.bitmap(0x10_0000n, 4096, 4096)).code, 'EINVAL')
  tracking.start()
  await device.addressSpace.map(memory, { iova: 0x20_0000n, offset: 8 * 4096, size: 4096 })
  bar.write64(REGISTER.iova, 0x10_2ffen)
  bar.write32(REGISTER.count, 4)
  bar.write32(REGISTER.write, 1)
  bar.write32(REGISTER.go, GO.before)
  const marks = tracking.bitmap(0x10_0000n, 8 * 4096, 4096)
  t.deepEqual(
    [...Array(8).keys()].filter((page) => marks.has(page)),
    [0, 2, 3],
  )
  t.deepEqual([...tracking.bitmap(0x10_0000n, 8 * 4096, 4096).bytes.subarray(0, 1)], [1])
  t.is(tracking.bitmap(0x20_0000n, 4096, 4096).count, 1)
  t.is(tracking.unmap(0x20_0000n, 4096, 4096).count, 1)
  tracking.stop()
})

test('a server without features has neither log nor migration', async (t) => {
  const device = await connectTo(t, { minor: 1 })
  t.is(device.migration, undefined)
  t.is(refusal(t, () => device.features.raw(1, 1 << 16, new Uint8Array(8))).code, 'ENOTTY')
  t.is(refusal(t, () => device.features.dmaLogging.stop()).reason, 'no-feature')
  t.is(
    refusal(t, () => {
      device.addressSpace.dirtyTracking.start()
    }).reason,
    'no-feature',
  )
})

test('what only the kernel has says so', async (t) => {
  const device = await connectTo(t)
  t.is(refusal(t, () => device.fd).code, 'EOPNOTSUPP')
  t.is(device.gfx, undefined)
  t.is(refusal(t, () => device.hotReset.info()).code, 'EOPNOTSUPP')
  t.is((await refusalOf(t, () => device.detach())).code, 'EOPNOTSUPP')
})

test('posted writes wait for no answer, and keep their order with reads', async (t) => {
  for (const answersPosted of [false, true]) {
    const device = await connectTo(t, { answersPosted }, { postedWrites: true })
    const bar = device.region('bar0')
    for (let i = 0; i < 500; i++) {
      bar.write32(4, i)
      if (i % 50 === 0) t.is(bar.read32(4), i)
    }
    t.is(bar.read32(4), 499)
    device.config.command.busMaster = true
    t.true(device.config.command.busMaster)
  }
})

test('registers are written several in a message where the server takes that', async (t) => {
  const bytes = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) & 0xff)
  for (const postedWrites of [false, true]) {
    const device = await connectTo(t, { several: true }, { postedWrites })
    const bar = device.region('bar0')
    // Not aligned at either end: of 1, 2, 4 and 8 bytes, 378 of them, in messages of 168.
    bar.write(0x101, bytes)
    t.is(bar.counters.fileAccesses, 3)
    const back = new Uint8Array(3000)
    bar.read(0x101, back)
    t.deepEqual(back, bytes)
    // One is sent as itself.
    bar.write(0x10, bytes.subarray(0, 8))
    t.is(bar.read32(0x10), 0x150e_0700)
  }
})

test('several writes that the server refuses are an error with their own name', async (t) => {
  const device = await connectTo(t, { several: true, at: COMMAND.regionWriteMulti, how: 'bare' })
  const bar = device.region('bar0')
  const error = refusal(t, () => {
    bar.write(0x100, new Uint8Array(64))
  })
  t.is(error.code, 'EPROTO')
  t.is(error.syscall, 'VFIO_USER_REGION_WRITE_MULTI')
  t.is(bar.read32(0x100), 0)
})

test('a device is shared with Workers, which call at the same time', async (t) => {
  const device = await connectTo(t)
  const bar = device.region('bar0')
  const dma = await device.addressSpace.allocate(4096, { iova: 0x10_0000n })
  const worker = inWorker(
    `const device = vfio.VfioDevice.claim(data)
     const bar = device.region('bar0')
     for (let i = 0; i < 2000; i++) {
       bar.write32(0x40, i)
       if (bar.read32(0x40) !== i) throw new Error('another value')
     }
     const space = device.addressSpace
     const own = await space.allocate(4096, { iova: 0x200000n })
     port.postMessage([device.name, space.mappingCount])
     await own.close()
     await device.close()`,
    device.share(),
  )
  const said = message(worker)
  for (let i = 0; i < 500; i++) {
    bar.write32(0x80, i)
    t.is(bar.read32(0x80), i)
    if (i % 50 === 0) await new Promise(setImmediate)
  }
  t.deepEqual(await said, [device.name, 2])
  t.is(await ended(worker), 0)
  bar.write32(0, 3)
  t.is(bar.read32(0), 3)
  await dma.close()
})

test('closing a device ends its connection and closes what was made on it', async (t) => {
  const device = await connectTo(t)
  const bar = device.region('bar2')
  const view = bar.view(0, 4096)
  const { addressSpace } = device
  const dma = await addressSpace.allocate(4096)
  await device.close()
  t.true(addressSpace.closed)
  t.true(dma.closed)
  t.is(refusal(t, () => bar.read32(0)).reason, 'closed')
  t.is(view.byteLength >= 0, true)
})
