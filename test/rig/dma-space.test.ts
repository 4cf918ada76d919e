// DMA, beyond dma.test.ts: placing mappings, descriptors from elsewhere, limits in another process, and what close() does.
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'

import { GuestMemory, VfioError } from '../../ts/index.js'
import { Companion, devices, EDU_MASK, Edu, eduDma, pattern, withDevice } from './devices.js'

test.serial('the ranges and page sizes of the space, and mappings at their edges', async (t) => {
  await withDevice('edu', async ({ addressSpace: space }) => {
    const { iovaRanges, pageSizes } = space
    t.is(pageSizes[0], 4096n)
    t.true(iovaRanges.length >= 2, 'the MSI window at 0xfee00000 is left out')
    for (const { start, last } of iovaRanges) {
      t.true(last > start)
      t.false(start <= 0xfee0_0000n && last >= 0xfeef_ffffn)
      const first = await space.allocate(4096, { iova: start })
      t.is(first.iova, start)
      const end = await space.allocate(4096, { iova: last - 4095n })
      await t.throwsAsync(space.allocate(8192, { iova: last - 4095n }), { instanceOf: RangeError })
      await first.close()
      await end.close()
    }
    t.is(space.mappingCount, 0)
  })
})

test.serial('addresses are picked apart from each other, aligned and below the limit', async (t) => {
  await withDevice('edu', async ({ addressSpace: space }) => {
    const taken: { start: bigint; end: bigint }[] = []
    for (const size of [4096, 3 * 4096, 1, 1 << 20, 8192]) {
      const buffer = await space.allocate(size, { below: EDU_MASK })
      t.true(buffer.iova > 0n, 'address 0 stays unmapped')
      t.is(buffer.iova % 4096n, 0n)
      t.is(buffer.size % 4096, 0)
      const range = { start: buffer.iova, end: buffer.iova + BigInt(buffer.size) }
      t.true(range.end <= EDU_MASK)
      t.true(taken.every(({ start, end }) => range.end <= start || range.start >= end))
      taken.push(range)
    }
    const error = await t.throwsAsync(space.allocate(1 << 20, { below: 1n << 20n }), {
      instanceOf: VfioError,
    })
    t.is(error.reason, 'no-iova')
    t.is(error.code, 'ENOSPC')
  })
})

test.serial('a file of another making as memory', async (t) => {
  const folder = mkdtempSync('/dev/shm/node-vfio-')
  try {
    const path = join(folder, 'memory')
    writeFileSync(path, '')
    truncateSync(path, 8192)
    await withDevice('edu', async (device) => {
      device.config.command.busMaster = true
      using memory = GuestMemory.fromFd(openSync(path, 'r+'))
      t.is(memory.size, 8192)
      const iova = await device.addressSpace.map(memory, { below: EDU_MASK, offset: 4096 })
      const bytes = new Uint8Array(memory.buffer)
      bytes.set(pattern(1024, 9), 4096)
      eduDma(device.region('bar0'), iova, 1024, 'toDevice')
      bytes.fill(0)
      eduDma(device.region('bar0'), iova, 1024, 'fromDevice')
      t.deepEqual(bytes.slice(4096, 5120), pattern(1024, 9))
      t.is(await device.addressSpace.unmap(iova, 4096), 4096n)
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.serial('synchronous forms, and mappingsAvailable as it goes down and up', async (t) => {
  await withDevice(
    'edu',
    (device) => {
      const space = device.addressSpace
      const before = space.mappingsAvailable
      if (before === null) return t.fail('the kernel of the rig says how many there are')
      using memory = GuestMemory.create(8192)
      const places = [1, 2, 3].map(() => space.mapSync(memory))
      t.is(new Set(places).size, 3)
      t.is(space.mappingsAvailable, before - 3)
      t.is(space.mappingCount, 3)
      for (const iova of places) t.is(space.unmapSync(iova, 8192), 8192n)
      t.is(space.mappingsAvailable, before)
      const none = space.unmapSync(places[0] as bigint, 8192)
      t.is(none, 0n)
      const buffer = space.allocateSync(4096, { below: EDU_MASK })
      t.throws(() => space.mapSync(memory, { iova: buffer.iova }), { instanceOf: VfioError, code: 'EEXIST' })
      buffer[Symbol.dispose]()
      t.is(space.mapSync(memory, { iova: buffer.iova }), buffer.iova)
      t.is(space.unmapAll(), 8192n)
    },
    { iommu: 'type1v2' },
  )
})

test.serial('a mapping for reading only, and one for writing only', async (t) => {
  await withDevice('edu', async (device) => {
    device.config.command.busMaster = true
    const { bar0 } = new Edu(device)
    const toRead = await device.addressSpace.allocate(4096, { below: EDU_MASK, write: false })
    const toWrite = await device.addressSpace.allocate(4096, { below: EDU_MASK, read: false })
    new Uint8Array(toRead.buffer).fill(0x33)
    eduDma(bar0, toRead.iova, 64, 'toDevice')
    eduDma(bar0, toWrite.iova, 64, 'fromDevice')
    t.is(new Uint8Array(toWrite.buffer)[63], 0x33)
    await t.throwsAsync(device.addressSpace.allocate(4096, { read: false, write: false }), {
      instanceOf: RangeError,
    })
  })
})

test.serial(
  'closing one buffer leaves the bus mastering of its devices on; the other buffers stay',
  async (t) => {
    await withDevice('edu', async (device) => {
      const edu = new Edu(device)
      device.config.command.busMaster = true
      const first = await device.addressSpace.allocate(4096, { below: EDU_MASK })
      const second = await device.addressSpace.allocate(4096, { below: EDU_MASK })
      new Uint8Array(second.buffer).set(pattern(512, 3))
      const bytes = new Uint8Array(first.buffer)
      const closing = first.close()
      t.true(device.config.command.busMaster)
      await closing
      t.true(first.closed)
      t.is(bytes.length, 0)
      t.true(device.config.command.busMaster)
      eduDma(edu.bar0, second.iova, 512, 'toDevice')
      // Where the first was nothing is now: the IOMMU stops the device, and nobody else notices.
      eduDma(edu.bar0, first.iova, 512, 'fromDevice')
      new Uint8Array(second.buffer).fill(0)
      eduDma(edu.bar0, second.iova, 512, 'fromDevice')
      t.deepEqual(new Uint8Array(second.buffer).slice(0, 512), pattern(512, 3))
      t.is(edu.factorial(7), 5040)
      t.throws(() => first.window(0, 1), { instanceOf: VfioError })
    })
  },
)

test.serial('RLIMIT_MEMLOCK, in a process that lost its exemption', async (t) => {
  const other = new Companion(`const { execFileSync } = await import('node:child_process')
    const device = await vfio.VfioDevice.open('${devices.edu}', { iommu: 'type1v2' })
    const space = device.addressSpace
    await (await space.allocate(1 << 20)).close()
    execFileSync('prlimit', ['--pid', String(process.pid), '--memlock=1048576:1048576'])
    process.setgid(65534)
    process.setuid(65534)
    const tell = ({ name, code, reason, remedy }) => ({ name, code, reason, remedy })
    const small = await space.allocate(65536)
    say(await space.allocate(2 << 20).then(() => null, tell))
    try { space.allocateSync(2 << 20); say(null) } catch (error) { say(tell(error)) }
    await small.close()
    say((await space.allocate(512 << 10)).size)
    await device.close()`)
  try {
    for (const form of ['allocate', 'allocateSync']) {
      const error = (await other.said()) as Record<string, string> | null
      t.like(error, { name: 'VfioError', code: 'ENOMEM', reason: 'memlock-limit' }, form)
      t.regex(error?.remedy ?? '', /1048576 bytes.*2097152 more bytes.*ulimit -l/)
    }
    t.is(await other.said(), 512 << 10, 'what fits still maps')
  } finally {
    await other.end()
  }
})
