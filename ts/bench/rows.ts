// The rows of `vfio bench`: those of `npm run bench` that need neither a device nor a guest nor npm's packages, by the same
// names and beside the same limits, with fewer turns.
import { EventFd } from '../event/eventfd.js'
import { SignalPoller } from '../event/poller.js'
import { SignalWaiter } from '../event/waiter.js'
import { type Comparison, compare, compareSeveral, type Row, unmeasured } from './harness.js'
import { allowedCpus } from './machine.js'
import { memfdRegion } from './memfd-region.js'
import { quantile } from './statistics.js'
import type { BenchAddon, BenchTools } from './tools.js'

const TURNS = 50_000
const SIGNALS = 20_000
const WATCHED = 64
const READY = 1024
const READY_ROUNDS = 40
const ROUND_TRIPS = 3000
const REGISTER = 8
const NANOSECONDS_PER_SECOND = 1e9

type Group = (tools: BenchTools, runs: number) => Row[] | Promise<Row[]>

/** No npm package is measured here, and each row says that of itself in `peer`: null. */
async function row(comparison: Omit<Comparison, 'peer'>): Promise<Row> {
  return withoutPeer(await compare({ ...comparison, peer: { none: '' } }))
}

function withoutPeer({ reason, ...others }: Row): Row {
  const said = reason?.replace(/(^|; )$/, '')
  return said === undefined || said === '' ? others : { ...others, reason: said }
}

async function registers(tools: BenchTools, runs: number): Promise<Row[]> {
  const { region, memory } = memfdRegion()
  const { addon } = tools
  const limit = (loop: (empty: BenchAddon['empty'], turns: number) => void): Comparison['limit'] =>
    'none' in addon
      ? { none: `limit: ${addon.none}` }
      : tools.perTurn(TURNS, (turns) => loop(addon.empty, turns))
  try {
    return [
      await row({
        name: 'register.read32',
        unit: 'ns',
        runs,
        ours: tools.perTurn(TURNS, (turns) => {
          for (let i = 0; i < turns; i++) region.read32(REGISTER)
        }),
        limit: limit((empty, turns) => {
          for (let i = 0; i < turns; i++) empty(REGISTER)
        }),
      }),
      await row({
        name: 'register.write32',
        unit: 'ns',
        runs,
        ours: tools.perTurn(TURNS, (turns) => {
          for (let i = 0; i < turns; i++) region.write32(REGISTER, i)
        }),
        limit: limit((empty, turns) => {
          for (let i = 0; i < turns; i++) empty(REGISTER, i)
        }),
      }),
    ]
  } finally {
    region.closeWithDevice()
    memory.close()
  }
}

async function signal(tools: BenchTools, runs: number): Promise<Row[]> {
  using eventfd = new EventFd()
  return [
    await row({
      name: 'eventfd.signal',
      unit: 'ns',
      runs,
      ours: tools.perTurn(SIGNALS, (turns) => {
        for (let i = 0; i < turns; i++) eventfd.signal()
      }),
      limit: tools.limit('eventfd-signal', [SIGNALS]),
    }),
  ]
}

async function scale(tools: BenchTools, runs: number): Promise<Row[]> {
  const eventfds = Array.from({ length: WATCHED }, () => new EventFd())
  try {
    using waiter = new SignalWaiter(eventfds)
    return [
      await row({
        name: `eventfd.scale.${WATCHED}`,
        unit: 'ns',
        runs,
        ours: tools.perTurn(SIGNALS, (turns) => {
          for (let turn = 0; turn < turns; turn++) {
            eventfds[turn % WATCHED]?.signal()
            if (waiter.wait(0) !== 1) throw new Error('a wait did not bring the one event that was there')
          }
        }),
        limit: tools.limit('eventfd-scale', [WATCHED, SIGNALS]),
      }),
    ]
  } finally {
    for (const eventfd of eventfds) eventfd.close()
  }
}

async function throughput(tools: BenchTools, runs: number): Promise<Row[]> {
  const perSecond = (nanoseconds: number): number => NANOSECONDS_PER_SECOND / nanoseconds
  const eventfds: EventFd[] = []
  const poller = new SignalPoller()
  let left = 0
  let arrived = (): void => undefined
  try {
    for (let i = 0; i < READY; i++) {
      const eventfd = new EventFd()
      eventfds.push(eventfd)
      poller.add(eventfd, () => {
        if (--left === 0) arrived()
      })
    }
    return [
      await row({
        name: 'eventfd.poller.throughput',
        unit: 'events/s',
        runs,
        ours: async () => {
          let spent = 0n
          for (let round = 0; round < READY_ROUNDS; round++) {
            left = READY
            let end = 0n
            const all = new Promise<void>((resolve) => {
              arrived = () => {
                end = process.hrtime.bigint()
                resolve()
              }
            })
            for (const eventfd of eventfds) eventfd.signal()
            const start = process.hrtime.bigint()
            await all
            spent += end - start
          }
          return perSecond(Number(spent) / (READY_ROUNDS * READY))
        },
        limit: tools.limit('poller-throughput', [READY, READY_ROUNDS], perSecond),
      }),
    ]
  } finally {
    poller.close()
    for (const eventfd of eventfds) eventfd.close()
  }
}

/** Answers each ping with a pong, so many times. */
type Answer = (
  ping: EventFd,
  pong: EventFd,
  rounds: number,
) => { done: Promise<void> | void; close: () => void }

function polled(ping: EventFd, pong: EventFd, rounds: number): ReturnType<Answer> {
  const poller = new SignalPoller()
  let left = rounds
  const done = new Promise<void>((resolve) => {
    poller.add(ping, () => {
      pong.signal()
      if (--left === 0) resolve()
    })
  })
  return { done, close: () => poller.close() }
}

function waited(ping: EventFd, pong: EventFd, rounds: number): ReturnType<Answer> {
  const waiter = new SignalWaiter([ping])
  for (let i = 0; i < rounds; i++) {
    waiter.wait()
    pong.signal()
  }
  return { done: undefined, close: () => waiter.close() }
}

/** A native thread on another CPU signals an eventfd and waits for the answer on a second one. */
function pingPong(kind: 'poller' | 'waiter', answer: Answer): Group {
  return async (tools, runs) => {
    const name = `eventfd.${kind}.latency.acrossCores`
    const names = [name, `${name}.p99`]
    const cpus = allowedCpus()
    const [first, last] = [cpus[0] ?? 0, cpus.at(-1) ?? 0]
    const { addon } = tools
    const why =
      'none' in addon
        ? `its other end: ${addon.none}`
        : first === last
          ? 'this process may use one CPU only'
          : null
    if (why !== null || 'none' in addon) return names.map((each) => unmeasured(each, 'ns', why ?? ''))
    const limit = tools.samples('poller-latency', [first, last, ROUND_TRIPS])
    const figures = (samples: Float64Array): number[] => [0.5, 0.99].map((at) => quantile([...samples], at))
    addon.pin(process.pid, [first])
    try {
      const rows = await compareSeveral({
        names,
        unit: 'ns',
        runs,
        ours: async () => {
          using ping = new EventFd()
          using pong = new EventFd()
          const partner = addon.partnerStart(ping.fd, pong.fd, last, ROUND_TRIPS, false)
          const { done, close } = answer(ping, pong, ROUND_TRIPS)
          await done
          const samples = new Float64Array(addon.partnerFinish(partner))
          close()
          return figures(samples)
        },
        limit: 'none' in limit ? limit : () => figures(limit()),
        peer: { none: '' },
      })
      return rows.map(withoutPeer)
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
  ...(
    [
      ['poller', polled],
      ['waiter', waited],
    ] as const
  ).map(([kind, answer]): [string[], Group] => {
    const name = `eventfd.${kind}.latency.acrossCores`
    return [[name, `${name}.p99`], pingPong(kind, answer)]
  }),
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
