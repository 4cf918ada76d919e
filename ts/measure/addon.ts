// The benchmarks' own addon (bench/addon), as TypeScript sees it.

/** A ping-pong's far end, a native thread. */
export interface Partner {
  readonly partner: unique symbol
}

export interface BenchAddon {
  /** A Node-API function that does nothing: what no native call can be faster than. */
  readonly empty: (...args: unknown[]) => void
  /** Pins a thread of this process. */
  pin(thread: number, cpus: readonly number[]): void
  partnerStart(ping: number, pong: number, cpu: number, rounds: number, spins: boolean): Partner
  /** Joins the thread and gives the nanoseconds of each round trip, as doubles. */
  partnerFinish(partner: Partner): ArrayBuffer
  /** Nanoseconds that the calling thread has been running. */
  cpuTime(): number
}
