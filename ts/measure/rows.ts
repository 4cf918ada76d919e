// The rows of `vfio bench`: those of `npm run bench` that need neither a device nor a guest nor npm's packages, by the same
// names and beside the same limits, with fewer turns.
import { EventFd } from '../event/eventfd.js'
import { SignalPoller } from '../event/poller.js'
import { SignalWaiter } from '../event/waiter.js'
import { type Beside, compare, compareSeveral, type Row, unmeasured } from './harness.js'
import { allowedCpus } from './machine.js'
import { memfdRegion } from './memfd-region.js'
import { quantile } from './statistics.js'
import type { BenchTools } from './tools.js'
import {
  answeredByPoller,
  answeredByWaiter,
  emptyLoops,
  type Game,
  perSecond,
  rate,
  type RegisterLoops,
  registerLoops,
  type Samples,
  signalLoop,
  waitLoop,
} from './work.js'

const TURNS = 50_000
const SIGNALS = 20_000
const WATCHED = 64
const READY = 1024
const READY_ROUNDS = 40
const ROUND_TRIPS = 3000

type Group = (tools: BenchTools, runs: number) => Row[] | Promise<Row[]>

async function registers(tools: BenchTools, runs: number): Promise<Row[]> {
  const { region, memory } = memfdRegion()
  const { addon } = tools
  const ours = registerLoops(region)
  const limit = (call: keyof RegisterLoops): Beside =>
    'none' in addon ? { none: `limit: ${addon.none}` } : tools.perTurn(TURNS, emptyLoops(addon)[call])
  const row = (call: keyof RegisterLoops): Promise<Row> =>
    compare({
      name: `register.${call}`,
      unit: 'ns',
      runs,
      ours: tools.perTurn(TURNS, ours[call]),
      limit: limit(call),
    })
  try {
    return [await row('read32'), await row('write32')]
  } finally {
    region.closeWithDevice()
    memory.close()
  }
}

async function signal(tools: BenchTools, runs: number): Promise<Row[]> {
  using eventfd = new EventFd()
  const ours = tools.perTurn(SIGNALS, signalLoop(eventfd))
  const limit = tools.limit('eventfd-signal', [SIGNALS])
  return [await compare({ name: 'eventfd.signal', unit: 'ns', runs, ours, limit })]
}

/** Some eventfds for as long as `use` takes. */
async function withEventFds(
  count: number,
  use: (eventfds: readonly EventFd[]) => Promise<Row>,
): Promise<Row[]> {
  const eventfds: EventFd[] = []
  try {
    for (let i = 0; i < count; i++) eventfds.push(new EventFd())
    return [await use(eventfds)]
  } finally {
    for (const eventfd of eventfds) eventfd.close()
  }
}

function scale(tools: BenchTools, runs: number): Promise<Row[]> {
  return withEventFds(WATCHED, async (eventfds) => {
    using waiter = new SignalWaiter(eventfds)
    const ours = tools.perTurn(SIGNALS, waitLoop(eventfds, waiter))
    const limit = tools.limit('eventfd-scale', [WATCHED, SIGNALS])
    return await compare({ name: `eventfd.scale.${WATCHED}`, unit: 'ns', runs, ours, limit })
  })
}

function throughput(tools: BenchTools, runs: number): Promise<Row[]> {
  return withEventFds(READY, async (eventfds) => {
    using poller = new SignalPoller()
    const ours = rate(eventfds, READY_ROUNDS, (arrived) => {
      for (const eventfd of eventfds) poller.add(eventfd, arrived)
    })
    const limit = tools.limit('poller-throughput', [READY, READY_ROUNDS], perSecond)
    return await compare({ name: 'eventfd.poller.throughput', unit: 'events/s', runs, ours, limit })
  })
}

function latencyNames(kind: string): [string, string] {
  const name = `eventfd.${kind}.latency.acrossCores`
  return [name, `${name}.p99`]
}

function latency(kind: string, answered: (game: Game) => Samples): Group {
  return async (tools, runs) => {
    const names = latencyNames(kind)
    const unit = 'ns'
    const cpus = allowedCpus()
    const [first, last] = [cpus[0] ?? 0, cpus.at(-1) ?? 0]
    const { addon } = tools
    if ('none' in addon) return names.map((name) => unmeasured(name, unit, `its other end: ${addon.none}`))
    if (first === last)
      return names.map((name) => unmeasured(name, unit, 'this process may use one CPU only'))
    const figures = (samples: Float64Array): number[] => [0.5, 0.99].map((at) => quantile([...samples], at))
    const ours = answered({ addon, cpu: last, rounds: ROUND_TRIPS })
    const limit = tools.samples('poller-latency', [first, last, ROUND_TRIPS])
    addon.pin(process.pid, [first])
    try {
      return await compareSeveral({
        names,
        unit,
        runs,
        ours: async () => figures(await ours()),
        limit: 'none' in limit ? limit : () => figures(limit()),
      })
    } finally {
      addon.pin(process.pid, cpus)
    }
  }
}

const GROUPS: readonly (readonly [names: readonly string[], measure: Group])[] = [
  [['register.read32', 'register.write32'], registers],
  [['eventfd.signal'], signal],
  [[`eventfd.scale.${WATCHED}`], scale],
  [['eventfd.poller.throughput'], throughput],
  [latencyNames('poller'), latency('poller', answeredByPoller)],
  [latencyNames('waiter'), latency('waiter', answeredByWaiter)],
]

export const ROW_NAMES: readonly string[] = GROUPS.flatMap(([names]) => names)

/** Measures the rows whose names begin with `only`, `runs` pairs each. */
export async function measureRows(
  tools: BenchTools,
  { only, runs, say }: { only: string; runs: number; say: (text: string) => void },
): Promise<Row[]> {
  const rows: Row[] = []
  for (const [names, measure] of GROUPS) {
    const wanted = names.filter((name) => name.startsWith(only))
    if (wanted.length === 0) continue
    say(`measuring ${wanted.join(', ')}`)
    const measured = await measure(tools, runs)
    rows.push(...measured.filter(({ name }) => wanted.includes(name)))
  }
  return rows
}
