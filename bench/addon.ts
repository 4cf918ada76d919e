// The benchmarks' own addon.
import { createRequire } from 'node:module'

import { ROOT } from './limits.js'
import type { BenchAddon } from '../ts/measure/addon.js'

interface Addon extends BenchAddon {
  /** Copies 4 KiB at most into a target, from memory that is always the same. */
  copy(address: bigint, target: Uint8Array): void
  /** Bytes in use in the C heap. */
  mallocBytes(): number
}

export const benchAddon = createRequire(import.meta.url)(
  `${ROOT}bench/addon/build/Release/bench.node`,
) as Addon
