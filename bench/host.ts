// The rows that need no device.
import type { Row } from './harness.js'
import { guest } from './rows/guest.js'
import { packageCosts } from './rows/package.js'
import { pollerLatency } from './rows/poller-latency.js'
import { pollerThroughput } from './rows/poller-throughput.js'
import { registers } from './rows/registers.js'
import { signal } from './rows/signal.js'
import { copyIn } from './rows/user-copy.js'
import { userGuest } from './rows/user-guest.js'
import { userClient, userServer } from './rows/user.js'
import { waiterLatency, waiterScale } from './rows/waiter.js'

type Group = () => Row[] | Promise<Row[]>

// By what the names of their rows begin with.
const GROUPS: readonly (readonly [names: readonly string[], measure: Group])[] = [
  [['register'], registers],
  [['eventfd.signal'], signal],
  [['eventfd.poller.latency'], pollerLatency],
  [['eventfd.poller.throughput'], pollerThroughput],
  [['eventfd.waiter'], waiterLatency],
  [['eventfd.scale'], waiterScale],
  [['guest'], guest],
  [['user.register'], userServer],
  [['user.client'], userClient],
  [['user.irq', 'user.doorbell'], userGuest],
  [['user.copyIn'], copyIn],
  [['import', 'memory'], packageCosts],
]

/** Whether a group can have rows whose names begin with `only`. */
function concerns(names: readonly string[], only: string): boolean {
  return names.some((name) => name.startsWith(only) || only.startsWith(name))
}

/** Measures them, one group after the other; those whose names begin with `only`, where it is given. */
export async function hostRows(progress: (text: string) => void, only = ''): Promise<Row[]> {
  const rows: Row[] = []
  for (const [names, measure] of GROUPS) {
    if (!concerns(names, only)) continue
    progress(`measuring ${measure.name}`)
    rows.push(...(await measure()))
  }
  return rows.filter(({ name }) => name.startsWith(only))
}
