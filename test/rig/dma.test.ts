// DMA through a real IOMMU: what is mapped moves, what is not faults, and limits are named.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

import test from 'ava'

import { AddressSpace, GuestMemory, VfioDevice, VfioError } from '../../ts/index.js'
import { EDU_MASK, devices, eduDma, open, pattern, throughEdu, withDevice } from './devices.js'

test('4 KiB to the device and back, in two halves', async (t) => {
  await withDevice('edu', async (device) => {
    device.config.command.busMaster = true
    await using buffer = await device.addressSpace.allocate(4096, { below: EDU_MASK })
    t.true(buffer.iova > 0n && buffer.iova + 4096n <= EDU_MASK)
    const sent = pattern(4096, 1)
    t.deepEqual(throughEdu(device.region('bar0'), buffer, sent), sent)
  })
})

test('a given IOVA, huge pages, read-only mappings', async (t) => {
  await withDevice('edu', async (device) => {
    device.config.command.busMaster = true
    const space = device.addressSpace
    const bar0 = device.region('bar0')
    await using fixed = await space.allocate(8192, { iova: 0x10_0000n })
    t.is(fixed.iova, 0x10_0000n)
    t.deepEqual(throughEdu(bar0, fixed, pattern(4096, 2)), pattern(4096, 2))
    await using huge = await space.allocate(1, { hugePages: '2M', below: EDU_MASK })
    t.is(huge.size, 2 << 20)
    t.is(huge.iova % (2n << 20n), 0n)
    t.deepEqual(throughEdu(bar0, huge, pattern(2048, 3)), pattern(2048, 3))
    await using gigantic = await space.allocate(1, { hugePages: '1G' })
    t.is(gigantic.size, 2 ** 30)
    t.is(gigantic.iova % (1n << 30n), 0n)
    await using source = await space.allocate(4096, { below: EDU_MASK, write: false })
    new Uint8Array(source.buffer).fill(7)
    eduDma(bar0, source.iova, 64, 'toDevice')
    // The device may not write there: the IOMMU stops it and the bytes stay.
    new Uint8Array(source.buffer).fill(9)
    eduDma(bar0, source.iova, 64, 'fromDevice')
    t.is(new Uint8Array(source.buffer)[0], 9)
    const exhausted = await t.throwsAsync(space.allocate(1, { hugePages: '1G' }), { instanceOf: VfioError })
    t.truthy(exhausted.remedy)
  })
})

test('DMA to an IOVA that nothing maps is stopped by the IOMMU, and the process lives', async (t) => {
  await withDevice('edu', async (device) => {
    device.config.command.busMaster = true
    await using buffer = await device.addressSpace.allocate(4096, { below: EDU_MASK })
    const bar0 = device.region('bar0')
    eduDma(bar0, 0x800_0000n, 128, 'toDevice')
    eduDma(bar0, 0x800_0000n, 128, 'fromDevice')
    t.deepEqual(throughEdu(bar0, buffer, pattern(2048, 5)), pattern(2048, 5))
  })
})

test('map and unmap, both forms, of whole memory and of views', async (t) => {
  await withDevice('edu', async (device) => {
    const space = device.addressSpace
    using memory = GuestMemory.create(4 * 4096)
    const before = space.mappingsAvailable
    t.is(await space.map(memory, { iova: 0x20_0000n }), 0x20_0000n)
    t.is(space.mappingsAvailable, before === null ? null : before - 1)
    t.is(space.mappingCount, 1)
    t.is(await space.unmap(0x20_0000n, 4 * 4096), 4n * 4096n)
    t.is(space.mappingsAvailable, before)
    const view = new Uint8Array(memory.buffer, 4096, 8192)
    const iova = space.mapSync(view, { below: EDU_MASK })
    device.config.command.busMaster = true
    view.set(pattern(2048, 6))
    const bar0 = device.region('bar0')
    eduDma(bar0, iova, 2048, 'toDevice')
    view.fill(0, 0, 2048)
    eduDma(bar0, iova, 2048, 'fromDevice')
    t.deepEqual(view.slice(0, 2048), pattern(2048, 6))
    t.is(space.unmapSync(iova, 8192), 8192n)
    await using source = await space.allocate(4096)
    const again = await space.map(source)
    t.not(again, source.iova)
    t.is(space.unmapAll(), 8192n)
  })
})

test('what cannot be mapped', async (t) => {
  await withDevice('edu', async (device) => {
    const space = device.addressSpace
    using memory = GuestMemory.create(4 * 4096)
    await t.throwsAsync(space.map(new ArrayBuffer(4096)), { instanceOf: RangeError, message: /allocate/ })
    await t.throwsAsync(space.map(new Uint8Array(memory.buffer, 1, 4096)), {
      instanceOf: RangeError,
      message: /allocate/,
    })
    await t.throwsAsync(space.map({} as never), { instanceOf: TypeError })
    await t.throwsAsync(space.map(memory, { iova: 1n }), { instanceOf: RangeError })
    await t.throwsAsync(space.map(memory, { iova: 4096 as never }), { instanceOf: TypeError })
    await t.throwsAsync(space.map(memory, { iova: 0xfee0_0000n }), {
      instanceOf: RangeError,
      message: /valid ranges/,
    })
    await t.throwsAsync(space.map(memory, { iova: 0n, below: 4096n }), { instanceOf: RangeError })
    await space.map(memory, { iova: 0x20_0000n })
    const twice = await t.throwsAsync(space.map(memory, { iova: 0x20_1000n }), { instanceOf: VfioError })
    t.is(twice.code, 'EEXIST')
    // Neither type1v2 nor iommufd cuts a mapping in two, and what else is in the range stays too.
    await space.map(new Uint8Array(memory.buffer, 0, 4096), { iova: 0x1f_f000n })
    for (const [iova, size] of [
      [0x20_1000n, 4096],
      [0x1f_f000n, 8192],
      [0x20_2000n, 1 << 20],
    ] as const) {
      const cut = await t.throwsAsync(space.unmap(iova, size), { instanceOf: VfioError })
      t.is(cut.code, 'EINVAL')
      t.regex(cut.remedy ?? '', /cuts a mapping in two/)
      t.is(space.mappingCount, 2)
    }
    t.is(await space.unmap(0x1f_f000n, 5 * 4096), 5n * 4096n)
    const none = await t.throwsAsync(space.allocate(1 << 20, { below: 0x2000n }), { instanceOf: VfioError })
    t.is(none.reason, 'no-iova')
  })
})

test('type1: the middle of a mapping unmaps nothing, and has no dirty tracking', async (t) => {
  await withDevice(
    'edu',
    async (device) => {
      const space = device.addressSpace
      t.is(space.type, 'type1')
      using memory = GuestMemory.create(4 * 4096)
      await space.map(memory, { iova: 0x20_0000n })
      t.is(await space.unmap(0x20_1000n, 4096), 0n)
      t.is(space.mappingCount, 1)
      const refused = t.throws(
        () => {
          space.dirtyTracking.start()
        },
        { instanceOf: VfioError },
      )
      t.is(refused.code, 'EACCES')
      t.regex(refused.remedy ?? '', /type1v2/)
      t.is(await space.unmap(0x20_0000n, 4 * 4096), 4n * 4096n)
    },
    { iommu: 'type1' },
  )
})

test('the dirty bitmap of type1v2', async (t) => {
  await withDevice(
    'edu',
    async (device) => {
      const space = device.addressSpace
      t.is(space.type, 'type1v2')
      await using buffer = await space.allocate(16 * 4096)
      space.dirtyTracking.start()
      const bitmap = space.dirtyTracking.bitmap(buffer.iova, buffer.size, 4096)
      t.is(bitmap.pages, 16)
      // A device that pins all of its memory counts all of it as dirty.
      t.is(bitmap.count, 16)
      t.true(bitmap.has(15))
      space.dirtyTracking.stop()
      t.throws(() => space.dirtyTracking.bitmap(buffer.iova, 100, 4096), { instanceOf: RangeError })
    },
    { iommu: 'type1v2' },
  )
})

test('several devices in one AddressSpace see one buffer', async (t) => {
  await using space = AddressSpace.open({ iommu: 'type1v2' })
  t.is(space.type, undefined)
  const early = t.throws(() => space.pageSizes, { instanceOf: VfioError })
  t.regex(early.remedy ?? '', /once a device is open/)
  const first = await VfioDevice.open(devices.edu, { iommu: space })
  const second = await VfioDevice.open(devices.edu2, { iommu: space })
  try {
    t.is(space.type, 'type1v2')
    const buffer = await space.allocate(8192, { below: EDU_MASK })
    for (const device of [first, second]) device.config.command.busMaster = true
    const bytes = new Uint8Array(buffer.buffer)
    bytes.set(pattern(2048, 8))
    eduDma(first.region('bar0'), buffer.iova, 2048, 'toDevice')
    eduDma(first.region('bar0'), buffer.iova + 4096n, 2048, 'fromDevice')
    eduDma(second.region('bar0'), buffer.iova + 4096n, 2048, 'toDevice')
    bytes.fill(0, 0, 2048)
    eduDma(second.region('bar0'), buffer.iova, 2048, 'fromDevice')
    t.deepEqual(bytes.slice(0, 2048), pattern(2048, 8))
    const closing = buffer.close()
    t.true(first.config.command.busMaster, 'the IOMMU alone keeps both away')
    t.true(second.config.command.busMaster)
    await closing
    t.true(first.config.command.busMaster)
    t.true(second.config.command.busMaster)
    t.is(bytes.byteLength, 0)
  } finally {
    await first.close()
    t.false(space.closed)
    await second.close()
  }
})

test('a device takes its memory with it when it closes', async (t) => {
  const device = await open('edu')
  const buffer = await device.addressSpace.allocate(4096)
  const { buffer: bytes } = buffer
  await device.close()
  t.true(buffer.closed)
  t.true(device.addressSpace.closed)
  t.is(bytes.byteLength, 0)
  await buffer.close()
})

const ENTRY_LIMIT = '/sys/module/vfio_iommu_type1/parameters/dma_entry_limit'

test('the limit of mapping entries is named', async (t) => {
  const before = readFileSync(ENTRY_LIMIT, 'utf8')
  writeFileSync(ENTRY_LIMIT, '2')
  try {
    await withDevice(
      'edu',
      async (device) => {
        t.is(device.addressSpace.mappingsAvailable, 2)
        await device.addressSpace.allocate(4096)
        await device.addressSpace.allocate(4096)
        const refused = await t.throwsAsync(device.addressSpace.allocate(4096), { instanceOf: VfioError })
        t.is(refused.reason, 'mapping-limit')
      },
      { iommu: 'type1v2' },
    )
  } finally {
    writeFileSync(ENTRY_LIMIT, before)
  }
})

test('RLIMIT_MEMLOCK is named with its figures', (t) => {
  const url = new URL('../../ts/index.js', import.meta.url).href
  const code = `
    const { VfioDevice } = await import(${JSON.stringify(url)});
    const device = await VfioDevice.open(${JSON.stringify(devices.edu)}, { iommu: 'type1v2' });
    try { await device.addressSpace.allocate(64 << 20); console.log('mapped') }
    catch (error) { console.log(JSON.stringify({ code: error.code, reason: error.reason, remedy: error.remedy })) }
    await device.close()`
  // Root is exempt through CAP_IPC_LOCK: drop that alone.
  const run = spawnSync(
    'setpriv',
    [
      '--bounding-set',
      '-ipc_lock',
      '--inh-caps',
      '-ipc_lock',
      'prlimit',
      '--memlock=1048576:1048576',
      process.execPath,
      '--input-type=module',
      '-e',
      code,
    ],
    { encoding: 'utf8', timeout: 120_000 },
  )
  t.is(run.status, 0, run.stderr)
  const refused = JSON.parse(run.stdout) as { code: string; reason: string; remedy: string }
  t.is(refused.code, 'ENOMEM')
  t.is(refused.reason, 'memlock-limit')
  t.regex(refused.remedy, /1048576 bytes/)
})
