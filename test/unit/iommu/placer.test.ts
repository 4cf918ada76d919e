// Where a mapping goes, against a kernel that refuses: which addresses are tried, in which order, and when it is over.
import { constants } from 'node:os'
import test from 'ava'

import { EEXIST, EINVAL, VfioError } from '../../../ts/errors.js'
import type { Geometry, SpaceBackend } from '../../../ts/iommu/backend.js'
import type { Extent, Placement } from '../../../ts/iommu/placement.js'
import { Placer } from '../../../ts/iommu/placer.js'
import type { NativeHandle } from '../../../ts/native/index.js'

const PAGE = 4096n
const EXTENT: Extent = { size: 4096, alignment: 4096, peer: false }
const ANYWHERE: Placement = { flags: 3, iova: undefined, below: undefined }
const MAPPING = {} as NativeHandle

interface Host {
  backend: SpaceBackend
  /** What was tried. */
  tried: bigint[]
  call: (iova: bigint) => NativeHandle
}

/** A space in which nothing is, whose ranges are what `ranges` says now; `refuse` gives the errno of a try. */
function host(ranges: () => [bigint, bigint][], refuse: (iova: bigint) => number = () => 0): Host {
  let kept: Geometry | undefined
  const ask = (): Geometry => ({
    pageSizes: [PAGE],
    iovaRanges: ranges().map(([start, last]) => ({ start, last })),
    mappingsAvailable: null,
  })
  const backend: Partial<SpaceBackend> = {
    mapCall: 'VFIO_IOMMU_MAP_DMA',
    geometry: () => (kept ??= ask()),
    info: ask,
    forgetGeometry: () => (kept = undefined),
    gap: (start, last, size, alignment) => {
      const first = ((start + alignment - 1n) / alignment) * alignment
      return first + size - 1n <= last ? first : null
    },
    explainMap: () => ({}),
  }
  const tried: bigint[] = []
  return {
    backend: backend as SpaceBackend,
    tried,
    call: (iova) => {
      tried.push(iova)
      const errno = refuse(iova)
      if (errno !== 0) throw new VfioError(errno, 'VFIO_IOMMU_MAP_DMA')
      return MAPPING
    },
  }
}

type Place = (host: Host, place?: Partial<Placement>, closed?: boolean) => Promise<bigint>

/** What holds for a call that blocks holds for one that does not. */
const FORMS: Record<string, Place> = {
  blocking: async ({ backend, call }, place, closed = false) =>
    new Placer(backend, () => closed).placeSync(EXTENT, { ...ANYWHERE, ...place }, call),
  'blocking, with an owner': async ({ backend, call }, place, closed = false) =>
    new Placer(backend, () => closed).ownedSync(EXTENT, { ...ANYWHERE, ...place }, call).iova,
  'not blocking': async ({ backend, call }, place, closed = false) => {
    const placer = new Placer(backend, () => closed)
    const placed = await placer.owned(EXTENT, { ...ANYWHERE, ...place }, async (iova) => call(iova))
    return placed.iova
  },
}

for (const [form, place] of Object.entries(FORMS)) {
  test(`placed (${form}): below a limit that is no multiple of a page, every byte lies below it`, async (t) => {
    const small = host(() => [[PAGE, 0xffff_ffffn]])
    await t.throwsAsync(place(small, { below: 0x1fffn }), { instanceOf: VfioError, code: 'ENOSPC' })
    t.deepEqual(small.tried, [])
    t.is(await place(small, { below: 0x2000n }), PAGE)
  })

  test(`placed (${form}): address 0 stays free`, async (t) => {
    t.is(await place(host(() => [[0n, 0xffff_ffffn]])), PAGE)
  })

  test(`placed (${form}): an address that another owner of the space has is passed over, and nothing else is`, async (t) => {
    const shared = host(
      () => [[0n, 0xffff_ffffn]],
      (iova) => (iova < 4n * PAGE ? EEXIST : 0),
    )
    t.is(await place(shared), 4n * PAGE)
    t.deepEqual(shared.tried, [PAGE, 2n * PAGE, 3n * PAGE, 4n * PAGE])

    const full = host(
      () => [[0n, 0xffff_ffffn]],
      () => constants.errno.ENOMEM,
    )
    await t.throwsAsync(place(full), { code: 'ENOMEM' })
    t.deepEqual(full.tried, [PAGE])
  })

  test(`placed (${form}): where a device has come that reaches less, placing begins anew in what is left`, async (t) => {
    let ranges: [bigint, bigint][] = [[0n, 0xffff_ffffn]]
    const moving = host(
      () => ranges,
      (iova) => {
        ranges = [[0x10_0000n, 0x1f_ffffn]]
        return iova < 0x10_0000n ? EINVAL : 0
      },
    )
    t.is(await place(moving), 0x10_0000n)
    t.deepEqual(moving.tried, [PAGE, 0x10_0000n])

    // An address that is still usable was refused for another reason.
    const other = host(
      () => [[0n, 0xffff_ffffn]],
      () => EINVAL,
    )
    await t.throwsAsync(place(other), { code: 'EINVAL' })
    t.deepEqual(other.tried, [PAGE])
  })

  test(`placed (${form}): an address that was asked for is tried alone`, async (t) => {
    const taken = host(
      () => [[0n, 0xffff_ffffn]],
      () => EEXIST,
    )
    await t.throwsAsync(place(taken, { iova: 8n * PAGE }), { code: 'EEXIST' })
    t.deepEqual(taken.tried, [8n * PAGE])
    await t.throwsAsync(place(taken, { iova: 8n * PAGE, below: 8n * PAGE + 1n }), { instanceOf: RangeError })
    t.deepEqual(taken.tried, [8n * PAGE])
  })

  test(`placed (${form}): a space that was closed meanwhile is asked for nothing`, async (t) => {
    const refused = host(
      () => [[0n, 0xfffn]],
      () => EEXIST,
    )
    await t.throwsAsync(place(refused, { iova: 8n * PAGE }), { instanceOf: RangeError })
    await t.throwsAsync(place(refused, { iova: 8n * PAGE }, true), { code: 'EEXIST' })
    const open = host(
      () => [[0n, 0xffff_ffffn]],
      () => EEXIST,
    )
    await t.throwsAsync(place(open, {}, true), { code: 'EEXIST' })
    t.deepEqual(open.tried, [PAGE])
  })
}
