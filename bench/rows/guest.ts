// guest.*: a guest in the loop. Round trips: an eventfd's signal interrupts the guest through KVM, the guest's handler rings
// a doorbell, and that reaches JavaScript, which sends the next; or, in the kernel alone, the guest itself. The rate of
// doorbells: one interrupt, and the guest rings on and on.
import { availableParallelism } from 'node:os'

import { BenchGuest, guestForLimits } from '../guest/guest.js'
import { type Row, compare, unmeasured } from '../harness.js'
import { compareLatency, latencyNames } from '../latency.js'
import { runLimit, runLimitForSamples } from '../limits.js'
import { allowedCpus, pinMainThread } from '../machine.js'
import { EventFd, SignalPoller, SignalWaiter } from '../../ts/index.js'
import { Kvm } from '../../ts/kvm/index.js'

export const ROUNDS = 10_000
const KERNEL_MILLISECONDS = 150
export const DOORBELLS = 50_000
export const RUNS = 11
/** Longer than a round trip takes: the waiter hardly ever sleeps. */
const SPIN_MICROS = 10_000
const TIMEOUT_MS = 10_000

export const NO_PEER = { none: 'peer: no npm package does this work' }
/** Every row of the group, for when there are none. */
const ROWS: readonly [name: string, unit: string][] = [
  ...['poller', 'waiter', 'spin'].flatMap((name) =>
    latencyNames(`guest.roundtrip.${name}`).map((each): [string, string] => [each, 'us']),
  ),
  ['guest.roundtrip.kernel', 'us'],
  ['guest.doorbell.rate', 'doorbells/s'],
]
const NANOSECONDS_PER_MILLISECOND = 1e6

interface Place {
  /** The CPU that JavaScript runs on, and the one that the guest runs on. */
  cpu: number
  guestCpu: number
}

/** Both ends of the round trip, on a guest that rings once per interrupt. */
export class RoundTrip {
  readonly guest = new BenchGuest()
  readonly interrupt = new EventFd()
  readonly doorbell: EventFd
  #sent = 0

  constructor() {
    this.guest.interruptBy(this.interrupt)
    this.doorbell = this.guest.doorbell()
    this.guest.set('burst', 1)
  }

  next(): number {
    this.#sent++
    const start = performance.now()
    this.interrupt.signal()
    return start
  }

  /** Nothing was lost, and nothing came that was not sent. */
  check(): void {
    const [taken, rung] = [this.guest.get('interrupts'), this.guest.get('doorbells')]
    if (taken !== this.#sent || rung !== this.#sent) {
      throw new Error(`${this.#sent} interrupts sent, ${taken} taken, ${rung} doorbells rung`)
    }
  }

  async close(): Promise<void> {
    await this.guest.close()
    this.doorbell.close()
    this.interrupt.close()
  }
}

/** Twice as many rounds as are kept: the first half warms up, as in the limit. */
export async function polled(trip: RoundTrip): Promise<Float64Array> {
  const samples = new Float64Array(ROUNDS)
  const poller = new SignalPoller()
  await new Promise<void>((resolve) => {
    let round = 0
    let start = 0
    poller.add(trip.doorbell, () => {
      samples[round % ROUNDS] = (performance.now() - start) * NANOSECONDS_PER_MILLISECOND
      if (++round < 2 * ROUNDS) start = trip.next()
      else resolve()
    })
    start = trip.next()
  })
  poller.close()
  trip.check()
  return samples
}

function waited(trip: RoundTrip, waiter: SignalWaiter): Float64Array {
  const samples = new Float64Array(ROUNDS)
  for (let round = 0; round < 2 * ROUNDS; round++) {
    const start = trip.next()
    if (waiter.wait(TIMEOUT_MS) !== 1) throw new Error('no doorbell came')
    samples[round % ROUNDS] = (performance.now() - start) * NANOSECONDS_PER_MILLISECOND
  }
  trip.check()
  return samples
}

async function roundTrip(
  name: 'poller' | 'waiter' | 'spin',
  { cpu, guestCpu }: Place,
  limit: 'epoll' | 'spin',
): Promise<Row[]> {
  const trip = new RoundTrip()
  await trip.guest.start(guestCpu)
  const waiter =
    name === 'poller'
      ? undefined
      : new SignalWaiter([trip.doorbell], { spinMicros: name === 'spin' ? SPIN_MICROS : 0 })
  const rows = await compareLatency({
    name: `guest.roundtrip.${name}`,
    unit: 'us',
    ours: () => (waiter === undefined ? polled(trip) : waited(trip, waiter)),
    limit: () => runLimitForSamples('guest-roundtrip', [limit, ...guestForLimits(), cpu, guestCpu, ROUNDS]),
    peer: NO_PEER,
    runs: RUNS,
  })
  waiter?.close()
  await trip.close()
  return rows
}

const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, milliseconds))

/** One eventfd is the doorbell and the interrupt: user space looks on. */
async function kernelRoundTrip({ guestCpu }: Place): Promise<Row> {
  const guest = new BenchGuest()
  const eventfd = new EventFd()
  guest.interruptBy(eventfd)
  guest.doorbell(eventfd)
  await guest.start(guestCpu)
  const exits = (): bigint => {
    const { io_exits: io, mmio_exits: mmio } = guest.vcpu.stats()
    return io! + mmio!
  }
  let rounds = 0
  const before = exits()
  const row = await compare({
    name: 'guest.roundtrip.kernel',
    unit: 'us',
    ours: async () => {
      guest.set('burst', 1)
      eventfd.signal()
      await pause(KERNEL_MILLISECONDS)
      const taken = guest.get('interrupts')
      const start = performance.now()
      await pause(KERNEL_MILLISECONDS)
      const more = guest.get('interrupts') - taken
      const spent = performance.now() - start
      // The handler that finds a burst of 0 does not answer: the loop ends.
      guest.set('burst', 0)
      rounds += more
      return (spent * 1000) / more
    },
    limit: () => runLimit('guest-kernel', [...guestForLimits(), guestCpu, KERNEL_MILLISECONDS]) / 1000,
    peer: NO_PEER,
    runs: RUNS,
  })
  const moved = exits() - before
  await guest.close()
  eventfd.close()
  if (moved !== 0n) throw new Error(`user space took part in guest.roundtrip.kernel: ${moved} exits`)
  return { ...row, reason: `${row.reason}; in ${rounds} rounds KVM's io_exits and mmio_exits did not move` }
}

async function doorbellRate({ cpu, guestCpu }: Place): Promise<Row> {
  const guest = new BenchGuest()
  const interrupt = new EventFd()
  guest.interruptBy(interrupt)
  const doorbell = guest.doorbell()
  guest.set('burst', DOORBELLS)
  await guest.start(guestCpu)
  const poller = new SignalPoller()
  let heard = 0
  let arrived = (): void => undefined
  poller.add(doorbell, (count) => {
    heard += count
    arrived()
  })
  let expected = 0
  const row = await compare({
    name: 'guest.doorbell.rate',
    unit: 'doorbells/s',
    ours: async () => {
      expected += DOORBELLS
      const start = performance.now()
      await new Promise<void>((resolve) => {
        arrived = () => {
          if (heard >= expected) resolve()
        }
        interrupt.signal()
      })
      const spent = performance.now() - start
      const rung = guest.get('doorbells')
      if (heard !== rung) throw new Error(`${rung} doorbells rung, ${heard} heard`)
      return (DOORBELLS / spent) * 1000
    },
    limit: () => 1e9 / runLimit('guest-doorbell', [...guestForLimits(), cpu, guestCpu, DOORBELLS]),
    peer: NO_PEER,
    runs: RUNS,
  })
  poller.close()
  await guest.close()
  doorbell.close()
  interrupt.close()
  return row
}

/** Why no guest can be measured here. */
export function obstacle(): string | undefined {
  if (availableParallelism() === 1) return 'this process may use one CPU only'
  try {
    Kvm.open().close()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

export async function guest(): Promise<Row[]> {
  const reason = obstacle()
  if (reason !== undefined) return ROWS.map(([name, unit]) => unmeasured(name, unit, reason))
  const cpus = allowedCpus()
  const place = { cpu: cpus[0]!, guestCpu: cpus.at(-1)! }
  pinMainThread([place.cpu])
  const rows = [
    ...(await roundTrip('poller', place, 'epoll')),
    ...(await roundTrip('waiter', place, 'epoll')),
    ...(await roundTrip('spin', place, 'spin')),
    await kernelRoundTrip(place),
    await doorbellRate(place),
  ]
  pinMainThread(cpus)
  return rows
}
