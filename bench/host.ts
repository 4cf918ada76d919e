// The rows that need no device.
import type { Row } from './harness.js'
import { guest } from './rows/guest.js'
import { packageCosts } from './rows/package.js'
import { pollerLatency } from './rows/poller-latency.js'
import { pollerThroughput } from './rows/poller-throughput.js'
import { registers } from './rows/registers.js'
import { signal } from './rows/signal.js'
import { waiterLatency, waiterScale } from './rows/waiter.js'

/** Measures them, one group after the other. */
export async function hostRows(progress: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = []
  for (const measure of [
    registers,
    signal,
    pollerLatency,
    pollerThroughput,
    waiterLatency,
    waiterScale,
    guest,
    packageCosts,
  ]) {
    progress(`measuring ${measure.name}`)
    rows.push(...(await measure()))
  }
  return rows
}
