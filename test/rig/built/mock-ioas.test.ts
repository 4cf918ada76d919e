// What an IOAS must do with and without devices on it: the scenarios of the kernel's own tests for it, on its mock devices,
// which tell what is in their page tables.
import test from 'ava'

import { AddressSpace, GuestMemory, Hwpt, Iommufd, VfioError } from '../../../ts/index.js'
import { addon } from '../../../ts/native/index.js'
import { Companion, pattern } from '../devices.js'
import {
  APERTURE,
  APERTURE_LAST,
  Access,
  MOCK_PAGE,
  Mock,
  PAGE,
  checkPins,
  limitMemory,
  marked,
  reserve,
} from './mock.js'

const TOP = 2n ** 64n - 1n
const P = BigInt(PAGE)

interface Setting {
  iommufd: Iommufd
  space: AddressSpace
  mocks: Mock[]
  /** Where the usable addresses begin. */
  base: bigint
}

async function withSpace(
  { devices = 0, limit }: { devices?: number; limit?: number },
  use: (setting: Setting) => void | Promise<void>,
): Promise<void> {
  const iommufd = Iommufd.open()
  const space = AddressSpace.open({ iommufd })
  const mocks: Mock[] = []
  try {
    if (limit !== undefined) limitMemory(iommufd, limit)
    for (let i = 0; i < devices; i++) mocks.push(new Mock(space))
    await use({ iommufd, space, mocks, base: devices === 0 ? 0n : APERTURE })
  } finally {
    limitMemory(iommufd)
    for (const mock of mocks) mock.close()
    await space.close()
    iommufd.close()
  }
}

const errorOf = (call: () => unknown): VfioError => {
  try {
    call()
  } catch (error) {
    if (error instanceof VfioError) return error
    throw error
  }
  throw new Error('the call was taken')
}

/** As the kernel's tests vary it: nobody, one device, two, and one while memory for lists of pages is short. */
const SETTINGS = [{ devices: 0 }, { devices: 1 }, { devices: 2 }, { devices: 1, limit: 16 }]
const nameOf = ({ devices, limit }: { devices: number; limit?: number }): string =>
  `${String(devices)} devices${limit === undefined ? '' : ', short of memory'}`

for (const setting of SETTINGS) {
  const name = nameOf(setting)

  test.serial(`${name}: the usable ranges, and what is reserved among them`, async (t) => {
    await withSpace(setting, ({ space, mocks }) => {
      const all = mocks.length === 0 ? [{ start: 0n, last: TOP }] : [{ start: APERTURE, last: APERTURE_LAST }]
      t.deepEqual(space.iovaRanges, all)
      reserve(space, P, P)
      t.deepEqual(
        space.iovaRanges,
        mocks.length > 0
          ? all
          : [
              { start: 0n, last: P - 1n },
              { start: 2n * P, last: TOP },
            ],
      )
    })
  })

  test.serial(`${name}: over-mapping, cutting, and unmapping everything twice`, async (t) => {
    await withSpace(setting, ({ space, base }) => {
      using memory = GuestMemory.create(3 * PAGE)
      for (let i = 0n; i < 10n; i++) t.is(space.unmapSync(base + i * P, PAGE), 0n)
      for (let i = 0n; i < 10n; i++) space.mapSync(memory, { iova: base + i * P, size: PAGE })
      for (let i = 0n; i < 10n; i++) t.is(space.unmapSync(base + i * P, PAGE), P)
      const middle = base + 16n * P
      space.mapSync(memory, { iova: middle, size: 2 * PAGE })
      for (const part of [middle, middle + P]) {
        t.is(errorOf(() => space.unmapSync(part, PAGE)).code, 'EINVAL')
      }
      for (const [at, pages] of [
        [16n, 2],
        [16n, 1],
        [17n, 1],
        [15n, 2],
        [15n, 3],
      ] as const) {
        const error = errorOf(() => space.mapSync(memory, { iova: base + at * P, size: pages * PAGE }))
        t.is(error.code, 'EEXIST')
      }
      t.is(space.unmapAll(), 2n * P)
      t.is(space.unmapAll(), 0n)
      t.is(space.mappingCount, 0)
    })
  })

  test.serial(`${name}: a range takes the mappings that lie in it, and no part of one`, async (t) => {
    await withSpace(setting, ({ space, base: start }) => {
      using memory = GuestMemory.create(8 * PAGE)
      const base = start + 4n * P
      for (let i = 0n; i < 4n; i++) space.mapSync(memory, { iova: base + i * 16n * P })
      t.is(errorOf(() => space.unmapSync(base - 4n * P, 8 * PAGE)).code, 'EINVAL')
      t.is(errorOf(() => space.unmapSync(base + 52n * P, 8 * PAGE)).code, 'EINVAL')
      t.is(space.mappingCount, 4)
      // Four pages before the first to the middle of the hole behind the third.
      t.is(space.unmapSync(base - 4n * P, 46 * PAGE), 24n * P)
      t.is(space.mappingCount, 1)
    })
  })

  test.serial(
    `${name}: places are aligned, and clear of what is reserved; what is allowed stays usable`,
    async (t) => {
      await withSpace(setting, ({ space, base }) => {
        using memory = GuestMemory.create(16 * PAGE)
        const place = (): bigint[] => {
          const places = Array.from({ length: 10 }, (_, i) => space.mapSync(memory, { size: (i + 1) * PAGE }))
          places.forEach((iova, i) => {
            t.is(iova % P, 0n)
            t.is(space.unmapSync(iova, (i + 1) * PAGE), BigInt(i + 1) * P)
          })
          return places
        }
        place()
        const reserved = { start: base + 4n * P, last: base + 104n * P - 1n }
        reserve(space, reserved.start, 100n * P)
        for (const [i, iova] of place().entries()) {
          t.true(iova > reserved.last || iova + BigInt(i + 1) * P <= reserved.start)
        }
        const taken = errorOf(() => {
          space.allowIovas([{ start: base + P, last: base + 600n * P }])
        })
        t.is(taken.code, 'EADDRINUSE')
        const allowed = { start: base + 200n * P, last: base + 600n * P - 1n }
        space.allowIovas([allowed])
        for (const [i, iova] of place().entries()) {
          t.true(iova >= allowed.start && iova + BigInt(i + 1) * P - 1n <= allowed.last)
        }
        // A given address may be any, and what is mapped there stays.
        const given = base + 150n * P
        t.is(space.mapSync(memory, { iova: given }), given)
        t.is(space.unmapSync(given, 16 * PAGE), 16n * P)
        // And the other way round: what is allowed cannot be reserved any more.
        t.is(
          errorOf(() => {
            reserve(space, allowed.start + P, P)
          }).code,
          'EADDRINUSE',
        )
        space.allowIovas([{ start: allowed.start, last: allowed.start + 4n * P - 1n }])
        const full = errorOf(() => space.mapSync(memory))
        t.is(full.code, 'ENOSPC')
        t.is(full.reason, 'no-iova')
        space.allowIovas([])
        t.true(place().some((iova) => iova < allowed.start))
        reserve(space, allowed.start + P, P)
      })
    },
  )

  test.serial(`${name}: what a driver in the kernel reads and writes through the space`, async (t) => {
    await withSpace(setting, ({ space }) => {
      using memory = GuestMemory.create(16 * PAGE)
      using other = GuestMemory.create(16 * PAGE)
      const bytes = new Uint8Array(memory.buffer)
      const seen = new Uint8Array(other.buffer)
      bytes.set(pattern(bytes.length, 3))
      const iova = space.mapSync(memory)
      const access = new Access(space, false)
      for (const slow of [false, true]) {
        for (const start of [PAGE - 50, PAGE - 1, PAGE, PAGE + 49]) {
          for (const length of [1, 2, 31, 63]) {
            access.copy(iova + BigInt(start), other, length, { slow })
            t.deepEqual(seen.slice(0, length), bytes.slice(start, start + length))
            seen.set(pattern(length, start + length))
            access.copy(iova + BigInt(start), other, length, { slow, write: true })
            t.deepEqual(bytes.slice(start, start + length), seen.slice(0, length))
          }
        }
        access.copy(iova, other, bytes.length, { slow })
        t.deepEqual(seen, bytes)
      }
      space.unmapSync(iova, memory.size)
      t.is(
        errorOf(() => {
          access.copy(iova, other, 1, {})
        }).code,
        'ENOENT',
      )
      access.close()
    })
  })

  test.serial(
    `${name}: pages that a driver in the kernel keeps, with devices coming and going`,
    async (t) => {
      await withSpace(setting, ({ iommufd, space, mocks }) => {
        using memory = GuestMemory.create(8 * PAGE)
        new Uint8Array(memory.buffer).fill(1)
        const access = new Access(space, true)
        for (let pages = 1; pages < 8; pages++) {
          space.mapSync(memory, { iova: APERTURE })
          access.unpin(access.pin(APERTURE, memory, pages * PAGE))
          const first = access.pin(APERTURE, memory, pages * PAGE)
          const second = access.pin(APERTURE, memory, pages * PAGE)
          access.unpin(second)
          access.unpin(first)
          const kept = access.pin(APERTURE, memory, pages * PAGE)
          const late = new Mock(space)
          late.checkMap(memory, 0, memory.size, APERTURE)
          late.close()
          access.unpin(kept)
          t.is(space.unmapSync(APERTURE, memory.size), BigInt(memory.size))
        }
        // The driver is asked to let go, and has.
        space.mapSync(memory, { iova: APERTURE })
        const kept = access.pin(APERTURE, memory, memory.size)
        t.is(space.unmapSync(APERTURE, memory.size), BigInt(memory.size))
        t.is(
          errorOf(() => {
            access.unpin(kept)
          }).code,
          'ENOENT',
        )
        access.close()
        for (const mock of mocks)
          t.throws(() => {
            mock.checkMap(memory, 0, PAGE, APERTURE)
          })
        checkPins(iommufd, memory, 0, memory.size, 0)
      })
    },
  )

  test.serial(`${name}: a copy needs every byte of its range to be mapped`, async (t) => {
    await withSpace(setting, async ({ iommufd, space }) => {
      using memory = GuestMemory.create(16 * PAGE)
      await using target = AddressSpace.open({ iommufd })
      space.mapSync(memory, { iova: APERTURE })
      for (let page = -1; page <= 16; page++) {
        const from = APERTURE + BigInt(page) * P
        if (page < 0 || page === 16) {
          t.is(errorOf(() => target.copySync(space, from, PAGE, { iova: APERTURE })).code, 'ENOENT')
          continue
        }
        t.is(target.copySync(space, from, PAGE, { iova: APERTURE }), APERTURE)
        t.is(target.unmapSync(APERTURE, PAGE), P)
      }
      t.is(errorOf(() => target.copySync(space, APERTURE + 15n * P, 2 * PAGE)).code, 'ENOENT')
    })
  })

  test.serial(`${name}: memory of a process that is there no more`, async (t) => {
    await withSpace(setting, async ({ iommufd, space, mocks }) => {
      const gone = await otherProcess(iommufd, space)
      await gone.end()
      if (mocks.length === 0) {
        t.is(errorOf(() => new Mock(space)).code, 'EFAULT', 'nothing was pinned while it lived')
        return
      }
      // What was pinned for one device is there for the next.
      const late = new Mock(space)
      t.deepEqual(readThrough(space), pattern(4 * PAGE, 5))
      late.close()
    })
  })

  test.serial(`${name}: memory of another process`, async (t) => {
    await withSpace(setting, async ({ iommufd, space }) => {
      const other = await otherProcess(iommufd, space)
      try {
        const late = new Mock(space)
        t.deepEqual(readThrough(space), pattern(4 * PAGE, 5))
        late.close()
      } finally {
        await other.end()
      }
    })
  })
}

/** A process that has mapped four pages of its own at the start of the aperture. */
async function otherProcess(iommufd: Iommufd, space: AddressSpace): Promise<Companion> {
  const other = new Companion(
    `const iommufd = vfio.Iommufd.fromFd(3)
    const space = vfio.AddressSpace.open({ iommufd, ioasId: ${String(space.ioasId)} })
    const memory = vfio.GuestMemory.create(${String(4 * PAGE)})
    new Uint8Array(memory.buffer).set(${JSON.stringify([...pattern(4 * PAGE, 5)])})
    space.mapSync(memory, { iova: ${String(APERTURE)}n })
    say('mapped')
    setInterval(() => memory.closed, 1000)`,
    [iommufd.fd],
  )
  await other.said()
  return other
}

function readThrough(space: AddressSpace): Uint8Array {
  using memory = GuestMemory.create(4 * PAGE)
  const access = new Access(space, false)
  access.copy(APERTURE, memory, memory.size, {})
  access.close()
  return new Uint8Array(memory.buffer).slice()
}

for (const devices of [1, 2]) {
  for (const hugePages of [undefined, '2M'] as const) {
    test.serial(
      `${String(devices)} devices, ${hugePages ?? 'ordinary'} pages: every part of a memory, for every device, an added one too`,
      async (t) => {
        for (const limit of [undefined, 16]) {
          await withSpace(
            { devices, ...(limit === undefined ? {} : { limit }) },
            ({ iommufd, space, mocks }) => {
              using memory = GuestMemory.create(8 * PAGE, hugePages === undefined ? {} : { hugePages })
              new Uint8Array(memory.window(0, 8 * PAGE)).fill(1)
              for (let start = 0; start < 8; start++) {
                for (let end = start + 1; end <= 8; end++) {
                  const offset = start * PAGE
                  const size = (end - start) * PAGE
                  const iova = space.mapSync(memory, { offset, size })
                  for (const mock of mocks) mock.checkMap(memory, offset, size, iova)
                  const added = new Mock(space)
                  added.checkMap(memory, offset, size, iova)
                  checkPins(iommufd, memory, offset, size, 1)
                  added.close()
                  t.is(space.unmapSync(iova, size), BigInt(size))
                }
              }
              checkPins(iommufd, memory, 0, 8 * PAGE, 0)
            },
          )
        }
      },
    )
  }

  test.serial(`${String(devices)} devices: a device moves between spaces and page tables`, async (t) => {
    await withSpace({ devices }, async ({ iommufd, space, mocks }) => {
      const [mock] = mocks as [Mock]
      {
        await using other = AddressSpace.open({ iommufd })
        mock.attach(other.ioasId as number)
        // The table that it came on went with the last device on it.
        const back = (): void => {
          mock.attach(mock.hwptId)
        }
        if (devices === 1) t.is(errorOf(back).code, 'ENOENT')
        else t.notThrows(back)
        mock.attach(other.ioasId as number)
        mock.attach(space.ioasId as number)
      }
      for (const each of mocks) {
        const plain = Hwpt.allocate(each, space)
        const parent = Hwpt.allocate(each, space, { nestParent: true })
        each.attach(plain.id)
        each.attach(parent.id)
        each.attach(space.ioasId as number)
        const { id } = plain
        plain.close()
        parent.close()
        t.is(
          errorOf(() => {
            each.attach(id)
          }).code,
          'ENOENT',
        )
      }
    })
  })

  test.serial(`${String(devices)} devices: large pages stay while something is mapped`, async (t) => {
    await withSpace({ devices }, ({ space }) => {
      using memory = GuestMemory.create(2 * PAGE)
      space.mapSync(memory)
      t.is(
        errorOf(() => {
          space.hugePages = false
        }).code,
        'EINVAL',
      )
      t.true(space.hugePages)
      space.unmapAll()
      space.hugePages = false
      t.false(space.hugePages)
    })
  })
}

test.serial('pages that are pinned without a device are copied to a space that has one', async (t) => {
  await withSpace({ devices: 1 }, async ({ iommufd, space, mocks }) => {
    using memory = GuestMemory.create(16 * PAGE)
    new Uint8Array(memory.buffer).fill(1)
    const [mock] = mocks as [Mock]
    const first = AddressSpace.open({ iommufd })
    await using second = AddressSpace.open({ iommufd })
    const from = first.mapSync(memory)
    const access = new Access(first, true)
    access.pin(from, memory, memory.size)
    space.copySync(first, from, memory.size, { iova: APERTURE })
    mock.checkMap(memory, 0, memory.size, APERTURE)
    // The driver goes over to another space, which has the same there.
    t.is(second.mapSync(memory, { iova: from }), from)
    access.moveTo(second)
    t.is(space.unmapSync(APERTURE, memory.size), BigInt(memory.size))
    await first.close()
    const kept = access.pin(from, memory, memory.size)
    space.copySync(second, from, memory.size, { iova: APERTURE })
    mock.checkMap(memory, 0, memory.size, APERTURE)
    access.unpin(kept)
    access.close()
  })
})

for (const kib of [128, 256, 640, 128 * 1024, 256 * 1024]) {
  test.serial(`dirty pages of ${String(kib)} KiB`, async (t) => {
    await withSpace({ devices: 1 }, ({ space, mocks }) => {
      const [mock] = mocks as [Mock]
      const size = kib * 1024
      using memory = GuestMemory.create(size)
      space.hugePages = false
      space.mapSync(memory, { iova: APERTURE })
      using table = Hwpt.allocate(mock, space, { dirtyTracking: true })
      table.dirtyTracking.start()
      // An entry is of two of the mock's pages, and marked as one.
      const last = size / MOCK_PAGE - 2
      const pages = Array.from({ length: Math.ceil(last / 62) }, (_, i) => i * 62)
      pages.push(last)
      t.is(mock.dirty(table.id, APERTURE, size, pages), pages.length)
      const read = (clear: boolean): number[] =>
        marked(table.dirtyTracking.bitmap(APERTURE, size, MOCK_PAGE, { clear }))
      t.deepEqual(read(false), pages)
      t.deepEqual(read(true), pages)
      t.deepEqual(read(true), [])
    })
  })
}

test.serial('commands that are too short, too long for the kernel, or not its own', (t) => {
  using iommufd = Iommufd.open()
  const DESTROY = 0x80
  const destroy = (size: number, extra = 0): VfioError => {
    const view = new DataView(new ArrayBuffer(16))
    view.setUint32(0, size, true)
    view.setUint32(8, extra, true)
    return errorOf(() => addon().iommufdCall(iommufd.native, DESTROY, new Uint8Array(view.buffer)))
  }
  t.is(destroy(7).code, 'EINVAL')
  t.is(destroy(8).code, 'ENOENT', 'there is no object 0')
  t.is(destroy(16).code, 'ENOENT', 'what a newer program asks for, and leaves at 0')
  t.is(destroy(16, 1).code, 'E2BIG', 'and what it cannot do without')
  t.is(errorOf(() => addon().iommufdCall(iommufd.native, 0xff, new Uint8Array(8))).code, 'ENOTTY')
})
