// AddressSpace over a fake: mappings of files, copies, and ranges that are kept, where there are any such and where there are none.
import test from 'ava'

import {
  type AddressSpace,
  EventFd,
  GuestMemory,
  type MapOptions,
  type PlaceOptions,
} from '../../../ts/index.js'
import type { Handle } from '../../../ts/handle.js'
import type { SpaceIoas } from '../../../ts/iommu/backend.js'
import { addon } from '../../../ts/native/index.js'
import { PAGE, fakeSpace, rangeOf } from '../../fakes/space.js'
import { held } from '../support.js'

interface Form {
  file: (space: AddressSpace, file: Handle | number, options?: MapOptions) => Promise<bigint>
  copy: (
    space: AddressSpace,
    from: AddressSpace,
    at: bigint,
    size: number,
    options?: PlaceOptions,
  ) => Promise<bigint>
}

const FORMS: Record<string, Form> = {
  'not blocking': {
    file: (space, file, options) => space.mapFile(file, options),
    copy: (space, from, at, size, options) => space.copy(from, at, size, options),
  },
  blocking: {
    file: async (space, file, options) => space.mapFileSync(file, options),
    copy: async (space, from, at, size, options) => space.copySync(from, at, size, options),
  },
}

for (const [form, { file, copy }] of Object.entries(FORMS)) {
  test.serial(`${form}: files are mapped by descriptor, which stays the caller's`, async (t) => {
    const before = held()
    {
      const { space, host } = fakeSpace({ files: true })
      using _space = space
      using memory = GuestMemory.create(3 * 4096)
      using eventfd = new EventFd()
      t.is(await file(space, memory), PAGE)
      t.is(await file(space, memory, { offset: 4096, size: 4096, write: false }), 4n * PAGE)
      t.is(await file(space, memory.fd, { size: 8192, iova: 0x8000n }), 0x8000n)
      t.is(await file(space, eventfd, { size: 4096, below: 0x1_0000n }), 5n * PAGE)
      t.deepEqual(
        host.mappings.map(({ by, iova, size, offset, flags }) => [by, iova, size, offset, flags]),
        [
          ['file', PAGE, 3n * PAGE, 0, 3],
          ['file', 4n * PAGE, PAGE, 4096, 1],
          ['file', 5n * PAGE, PAGE, 0, 3],
          ['file', 0x8000n, 2n * PAGE, 0, 3],
        ],
      )
      t.deepEqual(host.owned, [])
    }
    t.deepEqual(held(), before)
  })

  test(`${form}: what is wrong with a file, or the part of it, is said before anything is asked`, async (t) => {
    const { space, host } = fakeSpace({ files: true })
    using _space = space
    using memory = GuestMemory.create(8192)
    await t.throwsAsync(file(space, -1, { size: 4096 }), {
      instanceOf: RangeError,
      message: /^file must be /,
    })
    await t.throwsAsync(file(space, {} as unknown as Handle), {
      instanceOf: TypeError,
      message: /^file must be a Handle/,
    })
    await t.throwsAsync(file(space, memory.fd), { instanceOf: TypeError, message: /^size must be a number/ })
    await t.throwsAsync(file(space, memory.fd, { size: 4095 }), {
      instanceOf: RangeError,
      message: 'offset and size must be multiples of the page size (4096 bytes)',
    })
    await t.throwsAsync(file(space, memory, { offset: 8192 }), { instanceOf: RangeError })
    const closed = GuestMemory.create(4096)
    closed.close()
    await t.throwsAsync(file(space, closed, { size: 4096 }), { code: 'EBADF' })
    t.deepEqual(
      host.calls.filter((call) => call.startsWith('map')),
      [],
    )
  })

  test(`${form}: what one space has mapped, another of its kind shows too`, async (t) => {
    const one = fakeSpace({ files: true })
    const other = fakeSpace({ files: true })
    using _one = one.space
    using _other = other.space
    using memory = GuestMemory.create(8192)
    const iova = one.space.mapSync(memory, { iova: 0x10_0000n })
    t.is(await copy(other.space, one.space, iova, 8192, { write: false }), PAGE)
    t.is(await copy(other.space, one.space, iova, 8192, { iova: 0x4000n }), 0x4000n)
    t.deepEqual(
      other.host.mappings.map(({ by, flags }) => [by, flags]),
      [
        ['copy', 1],
        ['copy', 3],
      ],
    )
    t.deepEqual(other.host.owned, [])
    await t.throwsAsync(copy(other.space, one.space, 0n, 4096), { code: 'EINVAL' })
    await t.throwsAsync(copy(other.space, {} as unknown as AddressSpace, 0n, 4096), {
      instanceOf: TypeError,
      message: /^source must be an AddressSpace/,
    })
    await t.throwsAsync(copy(other.space, one.space, -1n, 4096), {
      instanceOf: RangeError,
      message: /^iova must/,
    })
    await t.throwsAsync(copy(other.space, one.space, 0n, 0), {
      instanceOf: RangeError,
      message: /^size must/,
    })
    one.space[Symbol.dispose]()
    await t.throwsAsync(copy(other.space, one.space, iova, 8192), { code: 'EBADF' })
  })

  test(`${form}: a space without files says so, and which one has them`, async (t) => {
    const { space, host } = fakeSpace()
    const { space: able } = fakeSpace({ files: true })
    using _space = space
    using _able = able
    using memory = GuestMemory.create(4096)
    const refusal = (call: string) => ({
      code: 'EOPNOTSUPP',
      message: `${call}: operation not supported (EOPNOTSUPP). Only an address space of iommufd has it: AddressSpace.open({ iommu: 'iommufd' }).`,
    })
    await t.throwsAsync(file(space, memory), refusal('IOMMU_IOAS_MAP_FILE'))
    await t.throwsAsync(copy(space, able, 0n, 4096), refusal('IOMMU_IOAS_COPY'))
    await t.throwsAsync(copy(able, space, 0n, 4096), refusal('IOMMU_IOAS_COPY'))
    t.throws(() => {
      space.allowIovas([])
    }, refusal('IOMMU_IOAS_ALLOW_IOVAS'))
    t.throws(() => space.hugePages, refusal('IOMMU_OPTION'))
    t.throws(() => {
      space.hugePages = false
    }, refusal('IOMMU_OPTION'))
    t.deepEqual(host.calls, [])
  })
}

test('places are picked inside what was allowed, a given address may lie elsewhere', (t) => {
  const { space } = fakeSpace({ files: true })
  using _space = space
  using memory = GuestMemory.create(4096)
  space.allowIovas([rangeOf(0x10_0000n, PAGE)])
  t.is(space.mapSync(memory), 0x10_0000n)
  t.throws(() => space.mapSync(memory), { code: 'ENOSPC', message: /or in what allowIovas\(\) allows/ })
  t.is(space.mapSync(memory, { iova: PAGE }), PAGE)
})

test('a space in an iommufd shows which, and what is set there', (t) => {
  const ioas: SpaceIoas = { iommufd: null as never, id: 7, hugePages: true }
  const { space } = fakeSpace({ ioas })
  using _space = space
  t.is(space.ioasId, 7)
  t.true(space.takesNodes)
  t.true(space.hugePages)
  space.hugePages = false
  t.false(ioas.hugePages)
  t.throws(
    () => {
      space.hugePages = 1 as unknown as boolean
    },
    { instanceOf: TypeError },
  )
  t.throws(
    () => {
      space.attachGroup(space.native)
    },
    { message: /this space is an IOAS: open the device by its own node\.$/ },
  )
  t.is(addon().handleHolders(space.native), 1)
})
