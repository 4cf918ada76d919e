// eventfd.waiter.latency: the ping-pong of eventfd.poller.latency, answered by a thread that blocks in SignalWaiter.
// eventfd.waiter.spin.latency: both ends spin instead, beside the limit of the former and a C++ program that spins too.
// eventfd.scale: one of many eventfds is signalled and waited for; at 4096 also beside the cost at 1.
import { benchAddon as addon } from '../addon.js'
import { type Measure, type Row, compare, perTurn, unmeasured } from '../harness.js'
import { compareLatency, unmeasuredLatency } from '../latency.js'
import { runLimit, runLimitForSamples } from '../limits.js'
import { allowedCpus, pinMainThread } from '../machine.js'
import { answeredByWaiter, waitLoop } from '../../ts/measure/work.js'
import { EventFd, SignalWaiter, VfioError } from '../../ts/index.js'

const ROUNDS = { oneCore: 10_000, acrossCores: 3_000 }
const SPIN_MICROS = 1000
const WATCHED = [1, 64, 1024, 4096] as const
const TURNS = 40_000
const NO_PEER = { none: 'no npm package blocks a thread for eventfds' }

export async function waiterLatency(): Promise<Row[]> {
  const cpus = allowedCpus()
  const [first, last] = [cpus[0]!, cpus.at(-1)!]
  const rows: Row[] = []
  const row = async (name: string, cpu: number, rounds: number): Promise<void> => {
    pinMainThread([cpu])
    rows.push(
      ...(await compareLatency({
        name,
        unit: 'ns',
        ours: answeredByWaiter({ addon, cpu: last, rounds }),
        limit: () => runLimitForSamples('poller-latency', [cpu, last, rounds]),
        peer: NO_PEER,
      })),
    )
  }
  await row('eventfd.waiter.latency.oneCore', last, ROUNDS.oneCore)
  if (first === last) {
    const reason = 'this process may use one CPU only'
    rows.push(...unmeasuredLatency('eventfd.waiter.latency.acrossCores', 'ns', reason))
    rows.push(...unmeasuredLatency('eventfd.waiter.spin.latency', 'ns', reason))
  } else {
    await row('eventfd.waiter.latency.acrossCores', first, ROUNDS.acrossCores)
    rows.push(
      ...(await compareLatency({
        name: 'eventfd.waiter.spin.latency',
        unit: 'ns',
        ours: answeredByWaiter({ addon, cpu: last, rounds: ROUNDS.acrossCores }, SPIN_MICROS),
        limit: () => runLimitForSamples('poller-latency', [first, last, ROUNDS.acrossCores]),
        peer: () => runLimitForSamples('waiter-spin', [first, last, ROUNDS.acrossCores]),
        peerName: 'C++, spinning',
      })),
    )
  }
  pinMainThread(cpus)
  return rows
}

async function scale(watched: number, alone: Measure): Promise<Row> {
  const eventfds: EventFd[] = []
  try {
    for (let i = 0; i < watched; i++) eventfds.push(new EventFd())
    using waiter = new SignalWaiter(eventfds)
    const many = watched === WATCHED.at(-1)
    return await compare({
      name: `eventfd.scale.${watched}`,
      unit: 'ns',
      ours: perTurn(TURNS, waitLoop(eventfds, waiter)),
      limit: () => runLimit('eventfd-scale', [watched, TURNS]),
      peer: many ? alone : NO_PEER,
      ...(many ? { peerName: 'one eventfd' } : {}),
    })
  } catch (error) {
    if (!(error instanceof VfioError) || error.code !== 'EMFILE') throw error
    return unmeasured(`eventfd.scale.${watched}`, 'ns', error.message)
  } finally {
    for (const eventfd of eventfds) eventfd.close()
  }
}

export async function waiterScale(): Promise<Row[]> {
  using eventfd = new EventFd()
  using waiter = new SignalWaiter([eventfd])
  const alone = perTurn(TURNS, waitLoop([eventfd], waiter))
  const rows: Row[] = []
  for (const watched of WATCHED) rows.push(await scale(watched, alone))
  return rows
}
