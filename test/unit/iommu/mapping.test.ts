// AddressSpace over a fake: what is mapped where, what is refused and in which words, and what is unmapped.
import { constants } from 'node:os'
import test from 'ava'

import { GuestMemory, type MapOptions, VfioError } from '../../../ts/index.js'
import { MAX_U64 } from '../../../ts/validate.js'
import { PAGE, fakeSpace, rangeOf } from '../../fakes/space.js'
import { memoryRegion } from '../support.js'

type Fake = ReturnType<typeof fakeSpace>
type Map = (fake: Fake, memory: GuestMemory, options?: MapOptions) => Promise<bigint>

/** What holds for the form that blocks holds for the one that does not. */
const FORMS: Record<string, Map> = {
  map: ({ space }, memory, options) => space.map(memory, options),
  mapSync: async ({ space }, memory, options) => space.mapSync(memory, options),
}

for (const [form, map] of Object.entries(FORMS)) {
  test(`${form}: addresses are picked from the lowest, and what is unmapped is used again`, async (t) => {
    const fake = fakeSpace()
    using space = fake.space
    using memory = GuestMemory.create(4 * 4096)
    const page = { size: 4096 }
    t.is(await map(fake, memory, page), PAGE)
    t.is(await map(fake, memory, { size: 8192 }), 2n * PAGE)
    t.is(await map(fake, memory, page), 4n * PAGE)
    t.is(space.mappingCount, 3)
    t.is(space.unmapSync(2n * PAGE, 8192), 2n * PAGE)
    t.is(await map(fake, memory, { size: 3 * 4096 }), 5n * PAGE)
    t.is(await map(fake, memory, { offset: 3 * 4096 }), 2n * PAGE)
    t.deepEqual(
      fake.host.mappings.map(({ iova, size, offset }) => [iova / PAGE, size / PAGE, offset]),
      [
        [1n, 1n, 0],
        [2n, 1n, 3 * 4096],
        [4n, 1n, 0],
        [5n, 3n, 0],
      ],
    )
    t.deepEqual(fake.host.owned, [])
  })

  test(`${form}: nothing is put into a hole between the valid ranges, nor across it`, async (t) => {
    const fake = fakeSpace({ ranges: [rangeOf(0n, 3n * PAGE), rangeOf(0x10_0000n, 4n * PAGE)] })
    using space = fake.space
    using memory = GuestMemory.create(4 * 4096)
    t.is(await map(fake, memory, { size: 8192 }), PAGE)
    t.is(await map(fake, memory, { size: 8192 }), 0x10_0000n)
    await t.throwsAsync(map(fake, memory), {
      instanceOf: VfioError,
      code: 'ENOSPC',
      message:
        'FAKE_MAP on 16384 bytes: no space left on device (ENOSPC). No free range of that size in iovaRanges, or in what allowIovas() allows: unmap something, or allow more addresses.',
    })
    t.is(space.mappingCount, 2)
    const outside = map(fake, memory, { iova: 2n * PAGE, size: 8192 })
    await t.throwsAsync(outside, {
      instanceOf: RangeError,
      message:
        'iova must lie inside one of the valid ranges (0x0-0x2fff, 0x100000-0x103fff); IOVA 0x2000-0x3fff does not',
    })
  })

  test(`${form}: a given address is the one, or the reason why not is said`, async (t) => {
    const fake = fakeSpace()
    using _space = fake.space
    using memory = GuestMemory.create(4096)
    t.is(await map(fake, memory, { iova: 0n }), 0n)
    t.is(await map(fake, memory, { iova: 0xffff_f000n, below: 1n << 32n }), 0xffff_f000n)
    await t.throwsAsync(map(fake, memory, { iova: 0n }), {
      code: 'EEXIST',
      message: 'FAKE_MAP on IOVA 0x0-0xfff: file already exists (EEXIST). The fake refused.',
    })
    await t.throwsAsync(map(fake, memory, { iova: 5n }), {
      instanceOf: RangeError,
      message: 'iova must be a multiple of 4096, not 0x5',
    })
    await t.throwsAsync(map(fake, memory, { iova: PAGE, below: PAGE + 1n }), {
      instanceOf: RangeError,
      message: 'iova + size must not exceed below (0x1001)',
    })
    t.is(fake.host.mappings.length, 2)
  })

  test(`${form}: below a mask, or not at all`, async (t) => {
    const fake = fakeSpace({ ranges: [rangeOf(0n, 1n << 40n)] })
    using space = fake.space
    using memory = GuestMemory.create(8192)
    t.is(await map(fake, memory, { below: 3n * PAGE }), PAGE)
    await t.throwsAsync(map(fake, memory, { below: 3n * PAGE }), {
      code: 'ENOSPC',
      message: /on 8192 bytes below 0x3000: /,
    })
    space.unmapAll()
    t.is(await map(fake, memory, { below: 3n * PAGE }), PAGE)
  })

  test(`${form}: the granule is the smallest page of the IOMMU, the alignment that of the memory`, async (t) => {
    const fake = fakeSpace({ pageSizes: [0x1_0000n], ranges: [rangeOf(0n, 1n << 32n)] })
    using space = fake.space
    using memory = GuestMemory.create(0x1_0000)
    t.is(await map(fake, memory), 0x1_0000n)
    await t.throwsAsync(map(fake, memory, { iova: PAGE }), { message: /a multiple of 65536, not 0x1000/ })
    t.throws(() => space.unmapSync(0x1_0000n, 4096), {
      instanceOf: RangeError,
      message: 'iova and size must be multiples of 65536',
    })
    t.is(space.mappingCount, 1)
  })

  test(`${form}: access is as it was asked for`, async (t) => {
    const fake = fakeSpace()
    using _space = fake.space
    using memory = GuestMemory.create(4096)
    await map(fake, memory)
    await map(fake, memory, { write: false })
    await map(fake, memory, { read: false })
    t.deepEqual(
      fake.host.mappings.map(({ flags }) => flags),
      [3, 1, 2],
    )
    await t.throwsAsync(map(fake, memory, { read: false, write: false }), {
      instanceOf: RangeError,
      message: 'read and write must not both be false',
    })
  })

  test(`${form}: a limit that is reached leaves what is there and adds nothing`, async (t) => {
    const fake = fakeSpace({ most: 1 })
    using space = fake.space
    using memory = GuestMemory.create(4096)
    await map(fake, memory)
    t.is(space.mappingsAvailable, 0)
    await t.throwsAsync(map(fake, memory), {
      code: 'ENOSPC',
      message: 'FAKE_MAP on IOVA 0x2000-0x2fff: no space left on device (ENOSPC). The fake refused.',
    })
    fake.host.most = 2
    fake.host.refuse = (call) => (call === 'map' ? constants.errno.ENOMEM : 0)
    const error = await t.throwsAsync<VfioError>(map(fake, memory), { code: 'ENOMEM' })
    t.is(error.reason, 'memlock-limit')
    t.regex(error.remedy ?? '', /^Mapped memory is pinned and counts against RLIMIT_MEMLOCK \(\S+ bytes; /)
    t.is(space.mappingCount, 1)
  })

  test(`${form}: what another holder of the space has is passed over`, async (t) => {
    const fake = fakeSpace()
    using _space = fake.space
    using memory = GuestMemory.create(4096)
    // Not in the list of this process, which the gap was found in.
    fake.host.refuse = (call, iova) => (call === 'map' && iova < 4n * PAGE ? constants.errno.EEXIST : 0)
    t.is(await map(fake, memory), 4n * PAGE)
    t.deepEqual(
      fake.host.calls.filter((call) => call.startsWith('map')),
      ['map 0x1000', 'map 0x2000', 'map 0x3000', 'map 0x4000'],
    )
  })

  test(`${form}: what the space says of itself is kept until it was wrong`, async (t) => {
    const fake = fakeSpace()
    using _space = fake.space
    using memory = GuestMemory.create(4096)
    const asked = (): number => fake.host.calls.filter((call) => call === 'geometry').length
    await map(fake, memory)
    await map(fake, memory)
    t.is(asked(), 1)
    // A device came that reaches less.
    fake.host.ranges = [rangeOf(0x10_0000n, 1n << 20n)]
    t.is(await map(fake, memory), 0x10_0000n)
    t.is(asked(), 2)
    t.is(await map(fake, memory), 0x10_1000n)
    t.is(asked(), 2)
  })

  test(`${form}: memory of a device says so, and goes where its pages fit`, async (t) => {
    const fake = fakeSpace()
    using space = fake.space
    using memory = GuestMemory.create(0x4000)
    const region = memoryRegion(memory)
    const peer = region as unknown as GuestMemory
    t.is(await map(fake, peer, { size: 0x2000 }), 0x2000n)
    t.like(fake.host.mappings[0], { peer: true, offset: 0, by: 'memory' })
    fake.host.refuse = () => constants.errno.EFAULT
    await t.throwsAsync(map(fake, peer), { message: /\(EFAULT\)\. The fake refused memory of a device\.$/ })
    t.is(space.mappingCount, 1)
  })

  test(`${form}: memory that was closed is refused, and nothing stays`, async (t) => {
    const fake = fakeSpace()
    using space = fake.space
    const memory = GuestMemory.create(4096)
    memory.close()
    await t.throwsAsync(map(fake, memory), { code: 'EBADF' })
    t.is(space.mappingCount, 0)
  })
}

test('large pieces have an owner until they are mapped, and none afterwards', async (t) => {
  const fake = fakeSpace()
  using space = fake.space
  using memory = GuestMemory.create(1 << 20)
  const iova = space.mapSync(memory)
  t.is(iova, PAGE)
  t.deepEqual(fake.host.owned, [])
  t.is(await space.map(memory), iova + (1n << 20n))
  t.is(fake.host.mappings.length, 2)
  t.deepEqual(fake.host.owned, [])
})

test('views of our memory are mapped, and no other', (t) => {
  const { space, host } = fakeSpace()
  using _space = space
  using memory = GuestMemory.create(3 * 4096)
  space.mapSync(new Uint8Array(memory.buffer, 4096, 4096))
  space.mapSync(memory.buffer, { offset: 8192 })
  space.mapSync(memory.window(4096, 8192), { offset: 4096 })
  t.deepEqual(
    host.mappings.map(({ offset, size }) => [offset, size]),
    [
      [4096, PAGE],
      [8192, PAGE],
      [8192, PAGE],
    ],
  )
  t.throws(() => space.mapSync(new ArrayBuffer(4096)), {
    instanceOf: RangeError,
    message:
      'memory must be page-aligned memory of this package: an ordinary ArrayBuffer is not; use allocate() or GuestMemory',
  })
  t.throws(() => space.mapSync('memory' as unknown as GuestMemory), { instanceOf: TypeError })
  t.throws(() => space.mapSync(new Uint8Array(memory.buffer, 1, 4096)), {
    instanceOf: RangeError,
    message:
      'memory must start and end on a page (4096 bytes); offset 1, size 4096 do not: use allocate() for memory that fits',
  })
  t.is(space.mappingCount, 3)
})

test('unmap: the bytes that it was, 0 where nothing is, and what is wrong with a range that is none', async (t) => {
  const { space, host } = fakeSpace()
  using _space = space
  using memory = GuestMemory.create(8192)
  const iova = space.mapSync(memory)
  t.is(space.unmapSync(0x8000n, 4096), 0n)
  t.is(await space.unmap(0x8000n, 4096n), 0n)
  const cut = { code: 'EINVAL', message: 'FAKE_UNMAP on IOVA 0x1000-0x1fff: invalid argument (EINVAL)' }
  t.throws(() => space.unmapSync(iova, 4096), cut)
  await t.throwsAsync(space.unmap(iova, 4096), cut)
  for (const [at, size, message] of [
    [1n, 4096, 'iova and size must be multiples of 4096'],
    [PAGE, 1, 'iova and size must be multiples of 4096'],
    [PAGE, 0, 'size must be a whole number from 1 to 9007199254740991, not 0'],
    [PAGE, 0n, 'size must be from 1n to 18446744073709551615n, not 0n'],
    [-1n, 4096, 'iova must be from 0n to 18446744073709551615n, not -1n'],
    [
      MAX_U64 - 4095n,
      8192,
      'iova + size must be at most 2^64; IOVA 0xfffffffffffff000-0x10000000000000fff reaches past it',
    ],
  ] as const) {
    t.throws(() => space.unmapSync(at, size), { instanceOf: RangeError, message })
    await t.throwsAsync(space.unmap(at, size), { instanceOf: RangeError, message })
  }
  t.is(host.mappings.length, 1)
  t.is(space.unmapSync(0n, 0x10_0000), 8192n)
  space.mapSync(memory)
  space.mapSync(memory)
  t.is(space.unmapAll(), 16384n)
  t.is(space.mappingCount, 0)
})

test('what a space says of itself', (t) => {
  const { space } = fakeSpace({ type: 'type1v2', pageSizes: [PAGE, 1n << 21n], most: 10 })
  using _space = space
  t.is(space.type, 'type1v2')
  t.deepEqual(space.pageSizes, [PAGE, 1n << 21n])
  t.deepEqual(space.iovaRanges, [{ start: 0n, last: 0xffff_ffffn }])
  t.is(space.mappingsAvailable, 10)
  t.is(space.cacheCoherent, null)
  t.is(space.iommufd, null)
  t.is(space.ioasId, null)
  t.false(space.takesNodes)

  const { space: unknown } = fakeSpace({ ranges: [] })
  using _unknown = unknown
  // As before Linux 5.4.
  t.deepEqual(unknown.iovaRanges, [{ start: 0n, last: MAX_U64 }])
})
