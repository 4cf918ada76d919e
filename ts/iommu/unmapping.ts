// Unmapping: every mapping that lies in a range. What is wrong with the range is said only when unmapping has failed or found
// nothing, for looking beforehand would cost every one.
import { explained } from '../errors.js'
import { MAX_U64, bigint, integer } from '../validate.js'
import type { SpaceBackend } from './backend.js'
import { granuleOf, span } from './placement.js'

/** The bytes unmapped, 0 where nothing was mapped: nothing is where nothing can be, too. */
export async function unmap(backend: SpaceBackend, iova: bigint, size: number | bigint): Promise<bigint> {
  try {
    const unmapped = await backend.unmap(iova, size)
    if (!unmapped) check(backend, iova, size)
    return unmapped
  } catch (error) {
    throw explained(error, { subject: span(iova, check(backend, iova, size)) })
  }
}

/** `unmap`, blocking. */
export function unmapSync(backend: SpaceBackend, iova: bigint, size: number | bigint): bigint {
  try {
    const unmapped = backend.unmapSync(iova, size)
    // Comparing with 0n would be a call of the runtime.
    if (!unmapped) check(backend, iova, size)
    return unmapped
  } catch (error) {
    throw explained(error, { subject: span(iova, check(backend, iova, size)) })
  }
}

/** The bytes of a range that was to be unmapped. Throws what is wrong with it. */
function check(backend: SpaceBackend, iova: bigint, size: number | bigint): bigint {
  bigint(iova, 'iova', 0n, MAX_U64)
  if (typeof size === 'number') integer(size, 'size', 1, Number.MAX_SAFE_INTEGER)
  const bytes = bigint(typeof size === 'number' ? BigInt(size) : size, 'size', 1n, MAX_U64)
  const granule = granuleOf(backend.info())
  if (iova % granule !== 0n || bytes % granule !== 0n) {
    throw new RangeError(`iova and size must be multiples of ${String(granule)}`)
  }
  if (iova + bytes - 1n > MAX_U64)
    throw new RangeError(`iova + size must be at most 2^64; ${span(iova, bytes)} reaches past it`)
  return bytes
}
