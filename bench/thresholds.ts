// What the figures must be. A ratio of a rate has a least value, any other figure a greatest.
import { type Row, unmeasured } from './harness.js'

type Figure = 'ours' | 'ratioToLimit' | 'ratioToPeer'

interface Threshold {
  name: string
  figure: Figure
  atMost?: number
  atLeast?: number
}

const THRESHOLDS: readonly Threshold[] = [
  { name: 'register.read32', figure: 'ratioToLimit', atMost: 1.6 },
  { name: 'register.read32', figure: 'ratioToPeer', atMost: 0.5 },
  { name: 'register.write32', figure: 'ratioToLimit', atMost: 1.6 },
  { name: 'register.write32', figure: 'ratioToPeer', atMost: 0.5 },
  { name: 'eventfd.signal', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'eventfd.poller.latency.oneCore', figure: 'ratioToLimit', atMost: 1.45 },
  { name: 'eventfd.poller.latency.oneCore', figure: 'ratioToPeer', atMost: 0.7 },
  { name: 'eventfd.poller.latency.acrossCores', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'eventfd.poller.throughput', figure: 'ratioToLimit', atLeast: 0.6 },
  { name: 'guest.roundtrip.poller', figure: 'ratioToLimit', atMost: 1.2 },
  { name: 'guest.roundtrip.waiter', figure: 'ratioToLimit', atMost: 1.08 },
  { name: 'guest.roundtrip.spin', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'eventfd.waiter.latency.oneCore', figure: 'ratioToLimit', atMost: 1.08 },
  { name: 'eventfd.waiter.latency.acrossCores', figure: 'ratioToLimit', atMost: 1.08 },
  { name: 'eventfd.waiter.spin.latency', figure: 'ratioToLimit', atMost: 0.4 },
  { name: 'eventfd.scale.4096', figure: 'ratioToPeer', atMost: 1.5 },
  { name: 'user.register.worker.oneCore', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'user.register.worker.acrossCores', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'user.register.loop.oneCore', figure: 'ratioToLimit', atMost: 1.4 },
  { name: 'user.register.loop.acrossCores', figure: 'ratioToLimit', atMost: 1.4 },
  { name: 'user.client.register.oneCore', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'user.client.register.acrossCores', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'user.irq.roundtrip', figure: 'ratioToPeer', atMost: 1.1 },
  { name: 'user.doorbell.rate', figure: 'ratioToLimit', atLeast: 0.9 },
  { name: 'user.copyIn.4k', figure: 'ratioToLimit', atMost: 1.1 },
  { name: 'import.time', figure: 'ours', atMost: 40 },
  { name: 'memory.idle', figure: 'ours', atMost: 12 },
  { name: 'dma.map', figure: 'ratioToLimit', atMost: 1.15 },
  { name: 'dma.map.iommufd', figure: 'ratioToLimit', atMost: 1.15 },
]

/** The rows of the rig on each of its kernels, for when it is not booted. */
const RIG_ROWS = {
  stock: [
    ['device.open', 'ms'],
    ['register.read32.bar', 'ns'],
    ['register.write32.bar', 'ns'],
    ['dma.map', 'us'],
    ['irq.latency', 'us'],
  ],
  built: [['dma.map.iommufd', 'us']],
} as const

export function rigRowsWithout(reason: string, kernel: keyof typeof RIG_ROWS): Row[] {
  return RIG_ROWS[kernel].map(([name, unit]) => unmeasured(name, unit, reason))
}

/** The threshold of a figure in words, or nothing. */
export function allowed(row: Row, figure: Figure): string {
  const found = THRESHOLDS.find((each) => each.name === row.name && each.figure === figure)
  if (found?.atMost !== undefined) return `<= ${found.atMost}`
  return found?.atLeast === undefined ? '' : `>= ${found.atLeast}`
}

/** A sentence for each figure that is not what it must be. A figure that could not be taken is none of them. */
export function misses(rows: readonly Row[]): string[] {
  return THRESHOLDS.flatMap(({ name, figure, atMost = Infinity, atLeast = -Infinity }) => {
    const value = rows.find((row) => row.name === name)?.[figure] ?? null
    if (value === null || (value <= atMost && value >= atLeast)) return []
    const bound = atMost === Infinity ? `at least ${atLeast}` : `at most ${atMost}`
    return [`${name}: ${figure} is ${value}, must be ${bound}`]
  })
}
