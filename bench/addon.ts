// The benchmarks' own addon.
import { createRequire } from 'node:module'

import { ROOT } from './limits.js'

/** The ping-pong's far end, a native thread. */
export interface Partner {
  readonly partner: unique symbol
}

interface BenchAddon {
  /** A Node-API function that does nothing: what no native call can be faster than. */
  empty(...args: unknown[]): void
  /** Pins a thread of this process. */
  pin(thread: number, cpus: readonly number[]): void
  partnerStart(ping: number, pong: number, cpu: number, rounds: number, spins: boolean): Partner
  /** Joins the thread and gives the nanoseconds of each round trip, as doubles. */
  partnerFinish(partner: Partner): ArrayBuffer
  /** Nanoseconds that the calling thread has been running. */
  cpuTime(): number
  /** Bytes in use in the C heap. */
  mallocBytes(): number
}

export const benchAddon = createRequire(import.meta.url)(
  `${ROOT}bench/addon/build/Release/bench.node`,
) as BenchAddon

/** Waits for the partner's end: the nanoseconds of each of its round trips. */
export function roundTripsOf(partner: Partner, rounds: number): Float64Array {
  const samples = new Float64Array(benchAddon.partnerFinish(partner))
  if (samples.length !== rounds)
    throw new Error(`the ping-pong's partner ended after ${String(samples.length)} rounds`)
  return samples
}
