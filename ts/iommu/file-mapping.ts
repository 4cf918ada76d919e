// Mappings of files, and of what another space has mapped: which part is meant, and by which call. Only a backend with `files`
// has them.
import { Handle } from '../handle.js'
import { GuestMemory } from '../memory/guest-memory.js'
import { pageSize } from '../memory/page.js'
import type { NativeHandle } from '../native/index.js'
import { MAX_U64, bigint, instance, integer, options as optionsOf } from '../validate.js'
import type { SpaceBackend } from './backend.js'
import type { OtherMapping } from './mapper.js'
import { copiesOf, filesOf } from './needs.js'
import { type MapOptions, pieceOf } from './pieces.js'
import { type Extent, type PlaceOptions, checkPlacement } from './placement.js'

const COPY = 'IOMMU_IOAS_COPY'

/** The part of a file that the options mean. */
function filePieceOf(file: object | number, options: MapOptions | undefined): Extent & { offset: number } {
  if (file instanceof GuestMemory) return pieceOf(file, options)
  const { offset = 0, size } = optionsOf(options, 'options')
  const page = pageSize()
  integer(offset, 'offset', 0, Number.MAX_SAFE_INTEGER)
  integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
  if (offset % page !== 0 || (size ?? 0) % page !== 0)
    throw new RangeError(`offset and size must be multiples of the page size (${String(page)} bytes)`)
  return { offset, size: size ?? 0, alignment: page, peer: false }
}

/** Of part of a file. */
export function fileMapping(
  backend: SpaceBackend,
  file: Handle | number,
  options: MapOptions | undefined,
): OtherMapping {
  const files = filesOf(backend, 'IOMMU_IOAS_MAP_FILE')
  if (typeof file === 'number') integer(file, 'file', 0, 0x7fff_ffff)
  else instance(file, Handle, 'file')
  const place = checkPlacement(options, backend)
  const extent = filePieceOf(file, options)
  const { offset, size } = extent
  const piece = { file: typeof file === 'number' ? file : file.native, offset, size }
  return {
    extent,
    place,
    map: (iova) => files.map(piece, iova, place.flags),
    mapSync: (iova) => files.mapSync(piece, iova, place.flags),
  }
}

/** Of what a space has mapped at an address of its own. */
export function copyMapping(
  backend: SpaceBackend,
  source: () => { readonly backend: SpaceBackend; readonly native: NativeHandle },
  from: bigint,
  size: number,
  options: PlaceOptions | undefined,
): OtherMapping {
  const copies = copiesOf(backend, COPY)
  const other = source()
  copiesOf(other.backend, COPY)
  bigint(from, 'iova', 0n, MAX_U64)
  integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
  const place = checkPlacement(options, backend)
  const { native } = other
  const bytes = BigInt(size)
  return {
    extent: { size, alignment: 1, peer: false },
    place,
    map: (iova) => copies.copy(native, from, bytes, iova, place.flags),
    mapSync: (iova) => copies.copySync(native, from, bytes, iova, place.flags),
  }
}
