// The benchmarks' own addon.
import { createRequire } from 'node:module'

import { ROOT } from './limits.js'
import type { BenchAddon, Partner } from '../ts/bench/tools.js'

interface Addon extends BenchAddon {
  /** Bytes in use in the C heap. */
  mallocBytes(): number
}

export const benchAddon = createRequire(import.meta.url)(
  `${ROOT}bench/addon/build/Release/bench.node`,
) as Addon

/** Waits for the partner's end: the nanoseconds of each of its round trips. */
export function roundTripsOf(partner: Partner, rounds: number): Float64Array {
  const samples = new Float64Array(benchAddon.partnerFinish(partner))
  if (samples.length !== rounds)
    throw new Error(`the ping-pong's partner ended after ${String(samples.length)} rounds`)
  return samples
}
