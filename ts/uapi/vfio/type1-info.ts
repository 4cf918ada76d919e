// Reads the bytes of vfio_iommu_type1_info: page sizes and the capabilities behind them.
import type { IovaRange } from '../iova-range.js'
import { capabilityChain } from './chain.js'

export interface Type1Info {
  /** The page sizes that a mapping may be made of, ascending, in bytes. */
  pageSizes: bigint[]
  /** Empty when the kernel does not report them (before Linux 5.4). */
  iovaRanges: IovaRange[]
  /** Mappings that can still be made; null when the kernel does not say (before Linux 5.10). */
  mappingsAvailable: number | null
  /** Dirty tracking, or null where there is none. */
  migration: { pageSizes: bigint[]; maxBitmapSize: bigint } | null
}

const FLAG_PGSIZES = 1 // VFIO_IOMMU_INFO_PGSIZES
const FLAG_CAPS = 2 // VFIO_IOMMU_INFO_CAPS
const CAP_IOVA_RANGE = 1 // VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
const CAP_MIGRATION = 2 // VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION
const CAP_DMA_AVAIL = 3 // VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL

/** The bytes of each capability's fixed part. One that is cut short is passed over. */
const LEAST: Record<number, number> = { [CAP_IOVA_RANGE]: 16, [CAP_MIGRATION]: 32, [CAP_DMA_AVAIL]: 12 }

/** The sizes in a bitmap of powers of two. */
export function sizesIn(bitmap: bigint): bigint[] {
  const sizes: bigint[] = []
  for (let bit = 0n; bit < 64n; bit++) {
    if ((bitmap >> bit) & 1n) sizes.push(1n << bit)
  }
  return sizes
}

export function decodeType1Info(bytes: Uint8Array): Type1Info {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const flags = view.getUint32(4, true)
  const info: Type1Info = {
    pageSizes: flags & FLAG_PGSIZES ? sizesIn(view.getBigUint64(8, true)) : [],
    iovaRanges: [],
    mappingsAvailable: null,
    migration: null,
  }
  const first = flags & FLAG_CAPS ? view.getUint32(16, true) : 0
  for (const { id, data } of capabilityChain(bytes, first)) {
    if (data.byteLength < (LEAST[id] ?? 0)) continue
    if (id === CAP_IOVA_RANGE) {
      const count = Math.min(data.getUint32(8, true), Math.floor((data.byteLength - 16) / 16))
      for (let i = 0; i < count; i++) {
        info.iovaRanges.push({
          start: data.getBigUint64(16 + i * 16, true),
          last: data.getBigUint64(24 + i * 16, true),
        })
      }
    } else if (id === CAP_MIGRATION) {
      info.migration = {
        pageSizes: sizesIn(data.getBigUint64(16, true)),
        maxBitmapSize: data.getBigUint64(24, true),
      }
    } else if (id === CAP_DMA_AVAIL) {
      info.mappingsAvailable = data.getUint32(8, true)
    }
  }
  return info
}
