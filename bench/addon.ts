// The benchmarks' own addon.
import { createRequire } from 'node:module'

import { ROOT } from './limits.js'
import type { BenchAddon } from '../ts/measure/addon.js'

interface Addon extends BenchAddon {
  /** Bytes in use in the C heap. */
  mallocBytes(): number
}

export const benchAddon = createRequire(import.meta.url)(
  `${ROOT}bench/addon/build/Release/bench.node`,
) as Addon
