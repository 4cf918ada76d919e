// Where a mapping goes, against a kernel that refuses: which addresses are tried, in which order, and when it is over.
import { constants } from 'node:os'
import test from 'ava'

import { EEXIST, EINVAL, VfioError } from '../../../ts/errors.js'
import type { Geometry, SpaceBackend } from '../../../ts/iommu/backend.js'
import type { Extent } from '../../../ts/iommu/placement.js'
import { Placer } from '../../../ts/iommu/placer.js'

const PAGE = 4096n
const EXTENT: Extent = { size: 4096, alignment: 4096, peer: false }
const ANYWHERE = { flags: 3, iova: undefined, below: undefined }

/** Of an empty space: the first aligned address. */
const empty = (start: bigint, last: bigint, size: bigint, alignment: bigint): bigint | null => {
  const first = ((start + alignment - 1n) / alignment) * alignment
  return first + size - 1n <= last ? first : null
}

interface Host {
  placer: Placer
  /** What was tried. */
  tried: bigint[]
  call: (iova: bigint) => void
}

/** A space whose ranges are what `geometry` says now; `refuse` gives the errno of a try. */
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
    explainMap: () => ({}),
  }
  const tried: bigint[] = []
  return {
    placer: new Placer(backend as SpaceBackend, empty, () => false),
    tried,
    call: (iova) => {
      tried.push(iova)
      const errno = refuse(iova)
      if (errno !== 0) throw new VfioError(errno, 'VFIO_IOMMU_MAP_DMA')
    },
  }
}

test('placed: below a limit that is no multiple of a page, every byte lies below it', (t) => {
  const { placer, call, tried } = host(() => [[PAGE, 0xffff_ffffn]])
  const place = { ...ANYWHERE, below: 0x1fffn }
  t.throws(() => placer.placeSync(EXTENT, place, call), { instanceOf: VfioError, code: 'ENOSPC' })
  t.deepEqual(tried, [])
  t.is(placer.placeSync(EXTENT, { ...ANYWHERE, below: 0x2000n }, call), PAGE)
})

test('placed: address 0 stays free', (t) => {
  const { placer, call } = host(() => [[0n, 0xffff_ffffn]])
  t.is(placer.placeSync(EXTENT, ANYWHERE, call), PAGE)
})

test('placed: an address that another owner of the space has is passed over, and nothing else is', (t) => {
  const refuse = (iova: bigint): number => (iova < 4n * PAGE ? EEXIST : 0)
  const { placer, call, tried } = host(() => [[0n, 0xffff_ffffn]], refuse)
  t.is(placer.placeSync(EXTENT, ANYWHERE, call), 4n * PAGE)
  t.deepEqual(tried, [PAGE, 2n * PAGE, 3n * PAGE, 4n * PAGE])

  const full = host(
    () => [[0n, 0xffff_ffffn]],
    () => constants.errno.ENOMEM,
  )
  t.throws(() => full.placer.placeSync(EXTENT, ANYWHERE, full.call), { code: 'ENOMEM' })
  t.deepEqual(full.tried, [PAGE])
})

test('placed: where a device has come that reaches less, placing begins anew in what is left', (t) => {
  let ranges: [bigint, bigint][] = [[0n, 0xffff_ffffn]]
  const refuse = (iova: bigint): number => {
    ranges = [[0x10_0000n, 0x1f_ffffn]]
    return iova < 0x10_0000n ? EINVAL : 0
  }
  const { placer, call, tried } = host(() => ranges, refuse)
  t.is(placer.placeSync(EXTENT, ANYWHERE, call), 0x10_0000n)
  t.deepEqual(tried, [PAGE, 0x10_0000n])

  // An address that is still usable was refused for another reason.
  const other = host(
    () => [[0n, 0xffff_ffffn]],
    () => EINVAL,
  )
  t.throws(() => other.placer.placeSync(EXTENT, ANYWHERE, other.call), { code: 'EINVAL' })
  t.deepEqual(other.tried, [PAGE])
})

test('placed: an address that was asked for is tried alone', (t) => {
  const { placer, call, tried } = host(
    () => [[0n, 0xffff_ffffn]],
    () => EEXIST,
  )
  t.throws(() => placer.placeSync(EXTENT, { ...ANYWHERE, iova: 8n * PAGE }, call), { code: 'EEXIST' })
  t.deepEqual(tried, [8n * PAGE])
  t.throws(() => placer.placeSync(EXTENT, { ...ANYWHERE, iova: 8n * PAGE, below: 8n * PAGE + 1n }, call), {
    instanceOf: RangeError,
  })
  t.deepEqual(tried, [8n * PAGE])
})
