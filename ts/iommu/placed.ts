// A mapping on its way from the kernel to who asked for it. It has a native owner all that time: a Worker that is terminated
// before it hears of the mapping leaves none behind in a space that others hold.
import { addon, type NativeHandle } from '../native/index.js'

export interface Placed {
  readonly iova: bigint
  /** The owner, at whose release it is unmapped; none where nothing is mapped (no IOMMU). */
  readonly mapping: NativeHandle | undefined
}

/** From this size on pinning takes so long that the environment may well end meanwhile. Bytes. */
export const LONG = 1 << 20

/** Gives the mapping to who asked for it, by its address. */
export function handOver({ iova, mapping }: Placed): bigint {
  if (mapping !== undefined) addon().dmaMappingLeave(mapping)
  return iova
}
