// The server before the Rust crate's client, which cloud-hypervisor has: whatever the device does, that client neither hangs nor
// gets out of step, and whatever it does, the server and the next client are none the worse.
import test, { type ExecutionContext } from 'ava'
import { closeSync, fstatSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

import { EventFd } from '../../../../ts/event/eventfd.js'
import { GuestMemory } from '../../../../ts/memory/guest-memory.js'
import type { UserDeviceOptions, UserDeviceServerOptions } from '../../../../ts/vfio-user/index.js'
import { CrateClient } from '../crate-client.js'
import { openDescriptors } from '../transport.js'
import { type Served, own, registers, serve, until } from './peer.js'

const ONES = 0xff
const CONFIG = 7
const EVENTFD_TRIGGER = 0x24

async function crate(
  t: ExecutionContext,
  options: Partial<UserDeviceOptions>,
  serverOptions?: UserDeviceServerOptions,
): Promise<Served & { client: CrateClient }> {
  const served = serve(t, options, serverOptions)
  return { ...served, client: await CrateClient.connect(t, served.path) }
}

async function master(client: CrateClient): Promise<void> {
  await client.write(CONFIG, 4n, Uint8Array.of(6, 0))
}

/** That the stream is in step, and the device there. */
async function stillThere(t: ExecutionContext, client: CrateClient, what = ''): Promise<void> {
  t.deepEqual([...(await client.read(CONFIG, 0n, 4))], [0x34, 0x12, 0xe8, 0x11], what)
}

test('the crate’s client finds a device with all that it has', async (t) => {
  const memory = own(t, GuestMemory.create(0x4000))
  const { client } = await crate(t, {
    irqs: { intx: true, msi: 4, msix: 16 },
    regions: {
      bar0: { size: 0x1000 },
      bar2: { size: 0x4000, memory, mmapAreas: [{ offset: 0x1000, size: 0x2000 }] },
      bar4: { size: 0x4000, memory },
    },
  })
  t.is(client.regions.length, 9)
  t.is(client.irqs, 5)
  t.false(client.resettable, 'the crate has it the other way round: it does not reset this one')
  const [bar0, , bar2, , bar4] = client.regions
  t.deepEqual([bar0?.size, bar0?.fd, bar0?.areas], [0x1000n, undefined, []])
  t.deepEqual(bar2?.areas, [{ offset: 0x1000n, size: 0x2000n }])
  t.is(bar4?.size, 0x4000n)
  for (const region of [bar2, bar4]) {
    const fd = region?.fd
    t.is(fstatSync(fd!).size, 0x4000)
    closeSync(fd!)
  }
  const counts = []
  for (let index = 0; index < client.irqs; index++) counts.push((await client.irqInfo(index)).count)
  t.deepEqual(counts, [1, 4, 16, 1, 1])
  await stillThere(t, client)
})

test('every access that is none reads as all ones for it, and keeps it in step', async (t) => {
  const { client, server } = await crate(t, registers().options)
  for (const [region, offset, count] of [
    [0, 0x1000n, 4],
    [0, 0xffen, 4],
    [0, 0xffff_ffff_ffff_fffcn, 4],
    [0, 1n << 53n, 8],
    [1, 0n, 4],
    [8, 0n, 1],
    [9, 0n, 4],
    [0xffff_ffff, 0n, 4],
    [CONFIG, 4096n, 2],
  ] as const) {
    const bytes = await client.read(region, offset, count)
    t.true(
      bytes.every((each) => each === ONES),
      `${String(region)} ${offset.toString(16)}`,
    )
    await client.write(region, offset, new Uint8Array(count))
    await stillThere(t, client)
  }
  t.is(server.statistics.beyond, 18)
  t.is(server.statistics.refused, 0)
})

test('reads and writes of any length and place are answered in full', async (t) => {
  const { client, errors } = await crate(t, registers().options)
  for (const count of [0, 1, 2, 3, 4, 5, 7, 8, 9, 64, 0xfff]) {
    for (const offset of [0n, 1n, 3n]) {
      if (Number(offset) + count > 0x1000) continue
      t.is((await client.read(0, offset, count)).length, count)
      await client.write(0, offset, new Uint8Array(count).fill(1))
    }
  }
  await stillThere(t, client)
  t.deepEqual(errors, [])
})

test('handlers that throw, reject or never answer do not hang it', async (t) => {
  const broken = (): never => {
    throw new Error('broken')
  }
  const ways: Partial<UserDeviceOptions>[] = [
    { onRead: broken, onWrite: broken },
    {
      onRead: () => Promise.reject<number>(new Error('broken')),
      onWrite: () => Promise.reject(new Error('broken')),
    },
    {
      onRead: () => new Promise<number>(() => undefined),
      onWrite: () => new Promise<number>(() => undefined),
    },
    { onRead: () => 'x' as never, onWrite: () => undefined },
  ]
  for (const [i, handlers] of ways.entries()) {
    const { client } = await crate(
      t,
      { regions: { bar0: { size: 16 } }, ...handlers },
      { deadlineMillis: 50 },
    )
    const from = performance.now()
    t.deepEqual([...(await client.read(0, 0n, 4))], [ONES, ONES, ONES, ONES], String(i))
    await client.write(0, 0n, new Uint8Array(4))
    await stillThere(t, client, String(i))
    t.true(performance.now() - from < 1000)
  }
})

test('a reset that fails, or takes for ever, is answered, and the crate goes on', async (t) => {
  const ways = [
    () => {
      throw new Error('broken')
    },
    () => Promise.reject(new Error('broken')),
    () => new Promise<never>(() => undefined),
    () => undefined,
  ]
  for (const onReset of ways) {
    const { client } = await crate(t, { onReset }, { deadlineMillis: 50 })
    await client.reset()
    await stillThere(t, client)
  }
})

// Alone, since it counts descriptors.
test.serial(
  'memory that is refused, is there twice, or is not there can be unmapped all the same',
  async (t) => {
    const memory = own(t, GuestMemory.create(0x4000))
    const zero = openSync('/dev/zero', 'r+')
    t.teardown(() => closeSync(zero))
    const { client, device, server } = await crate(t, {})
    await master(client)
    const before = openDescriptors()
    // No memory, behind the file's end, empty, beyond 64 bits.
    await client.dmaMap(0n, 0n, 0x1000n, zero)
    await client.dmaMap(0x4000n, 0n, 0x1000n, memory.fd)
    await client.dmaMap(0n, 0n, 0n, memory.fd)
    await client.dmaMap(0n, 0xffff_ffff_ffff_f000n, 0x2000n, memory.fd)
    t.deepEqual(device.dma.ranges, [])
    await client.dmaMap(0n, 0x10_0000n, 0x4000n, memory.fd)
    await client.dmaMap(0n, 0x10_0000n, 0x4000n, memory.fd)
    await client.dmaMap(0n, 0x10_2000n, 0x1000n, memory.fd)
    t.is(device.dma.ranges.length, 1)
    t.is(server.statistics.refused, 6)
    // Of what was refused, of a part, of nothing, beyond 64 bits, and of what is there.
    await client.dmaUnmap(0n, 0x1000n)
    await client.dmaUnmap(0x10_1000n, 0x1000n)
    t.is(device.dma.ranges.length, 1)
    await client.dmaUnmap(0x50_0000n, 0n)
    await client.dmaUnmap(0xffff_ffff_ffff_f000n, 0x2000n)
    await stillThere(t, client)
    await client.dmaUnmap(0x10_0000n, 0x4000n)
    t.deepEqual(device.dma.ranges, [])
    await stillThere(t, client)
    t.is(openDescriptors(), before)
  },
)

test('it is never asked for memory: DMA is by its file, or an error to the device alone', async (t) => {
  const memory = own(t, GuestMemory.create(0x4000))
  const { client, device } = await crate(t, registers().options)
  await master(client)
  await client.dmaMap(0n, 0x10_0000n, 0x4000n, memory.fd)
  await device.dma.write(0x10_0000n, Uint8Array.of(1, 2, 3))
  t.deepEqual([...(await device.dma.read(0x10_0000n, 3))], [1, 2, 3])
  await t.throwsAsync(device.dma.read(0x10_3fffn, 2), { code: 'EFAULT' })
  await t.throwsAsync(device.dma.write(0n, new Uint8Array(1)), { code: 'EFAULT' })
  await stillThere(t, client)
  await client.dmaUnmap(0x10_0000n, 0x4000n)
  await t.throwsAsync(device.dma.read(0x10_0000n, 3), { code: 'EFAULT' })
  await stillThere(t, client)
})

test.serial('more descriptors than it said are taken, and wrong ones are closed', async (t) => {
  const { client, device } = await crate(t, { irqs: { intx: true, msix: 64 } })
  const eventfd = own(t, new EventFd())
  const zero = openSync('/dev/zero', 'r+')
  t.teardown(() => closeSync(zero))
  const sixteen = Array.from({ length: 16 }, () => eventfd.fd)
  await client.setIrqs(2, EVENTFD_TRIGGER, 0, 16, sixteen)
  for (let vector = 0; vector < 16; vector++) device.raise('msix', vector)
  t.is(eventfd.read(), 16)
  const before = openDescriptors()
  await client.setIrqs(2, EVENTFD_TRIGGER, 16, 64, sixteen)
  await client.setIrqs(2, EVENTFD_TRIGGER, 60, 16, sixteen)
  await client.setIrqs(2, EVENTFD_TRIGGER, 0, 3, sixteen)
  await client.setIrqs(2, EVENTFD_TRIGGER, 0, 2, [eventfd.fd, zero])
  await client.setIrqs(77, EVENTFD_TRIGGER, 0, 1, [eventfd.fd])
  await client.setIrqs(2, 0xffff, 0, 1, [eventfd.fd])
  t.is(openDescriptors(), before)
  for (const index of [0, 1, 2, 3, 4]) await client.setIrqs(index, 0x21, 0, 0, [])
  t.is(device.interruptMode, null)
  await stillThere(t, client)
  t.is(openDescriptors(), before - 16)
})

test('an index or a region that no device has does not hang it', async (t) => {
  const { client } = await crate(t, {})
  t.is((await client.irqInfo(5)).count, 0)
  t.is((await client.irqInfo(0xffff_ffff)).count, 0)
  await stillThere(t, client)
})

test('it goes in the middle of anything, and the next one finds the device as it was', async (t) => {
  const { values, options } = registers()
  const { path, server, device } = serve(t, {
    ...options,
    onRead: (_region, offset) => sleep(20, values.get(offset) ?? 0),
  })
  for (let round = 0; round < 8; round++) {
    const client = await CrateClient.connect(t, path)
    await client.write(0, 0n, Uint8Array.of(round, 0, 0, 0))
    // Its vCPU's thread is killed while it waits.
    const waiting = client.read(0, 0n, 4).catch(() => null)
    if (round % 2 === 0) await sleep(5)
    client.connection.hangUp()
    client.close()
    await Promise.race([waiting, sleep(1)])
    await until(() => !server.connected)
    t.deepEqual(device.dma.ranges, [])
  }
  const last = await CrateClient.connect(t, path)
  t.deepEqual([...(await last.read(0, 0n, 4))], [7, 0, 0, 0])
})
