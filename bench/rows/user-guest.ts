// user.irq.roundtrip and user.doorbell.rate: the guest of guest.* with a device that TypeScript serves in another thread. Its
// interrupt and its doorbell are eventfds that KVM takes, as a kernel device's are: user space sees none of them leave the guest.
// The limit is the same guest in C++, the peer the same guest of this package's with eventfds that belong to no device.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

import { BenchGuest, guestForLimits } from '../guest/guest.js'
import { type Row, compare, unmeasured } from '../harness.js'
import { compareLatency, unmeasuredLatency } from '../latency.js'
import { runLimit, runLimitForSamples } from '../limits.js'
import { allowedCpus, pinMainThread } from '../machine.js'
import type { Game } from '../user/ringing-worker.js'
import type { ServedInWorker } from '../user/worker.js'
import { DOORBELLS, NO_PEER, obstacle, polled, ROUNDS, RoundTrip, RUNS } from './guest.js'
import { VfioDevice } from '../../ts/index.js'

const ROUND_TRIP = 'user.irq.roundtrip'
const RATE = 'user.doorbell.rate'

/** A guest, and the device that is wired to it. */
class Passed {
  readonly guest = new BenchGuest()
  readonly #worker: Worker
  readonly #device: VfioDevice

  private constructor(worker: Worker, device: VfioDevice) {
    this.#worker = worker
    this.#device = device
  }

  static async start(path: string, cpu: number, guestCpu: number, burst: number): Promise<Passed> {
    const workerData: ServedInWorker = { path, cpu }
    const worker = new Worker(new URL('../user/ringing-worker.js', import.meta.url), { workerData })
    await once(worker, 'message')
    const device = await VfioDevice.connect(path, { watch: false })
    const passed = new Passed(worker, device)
    const [doorbell] = device.region('bar0').doorbells
    if (doorbell === undefined) throw new Error('the device has no doorbell')
    passed.guest.interruptBy(device.irq('msix').enable(1)[0]!)
    passed.guest.doorbell(doorbell.eventfd)
    passed.guest.set('burst', burst)
    await passed.guest.start(guestCpu)
    return passed
  }

  async play(game: Game): Promise<Float64Array> {
    const before = [this.guest.get('interrupts'), this.guest.get('doorbells')] as const
    this.#worker.postMessage(game)
    const [played] = (await once(this.#worker, 'message')) as [Float64Array]
    const taken = this.guest.get('interrupts') - before[0]
    const rung = this.guest.get('doorbells') - before[1]
    const expected = game.kind === 'rings' ? [1, game.count] : [2 * game.count, 2 * game.count]
    if (taken !== expected[0] || rung !== expected[1])
      throw new Error(
        `${taken} interrupts taken, ${rung} doorbells rung, instead of ${expected.join(' and ')}`,
      )
    return played
  }

  /** How often the guest left for user space so far. */
  get exits(): bigint {
    const { io_exits: io, mmio_exits: mmio } = this.guest.vcpu.stats()
    return io! + mmio!
  }

  async close(): Promise<void> {
    await this.guest.close()
    await this.#device.close()
    await this.#worker.terminate()
  }
}

async function passed(
  burst: number,
  { cpu, guestCpu }: { cpu: number; guestCpu: number },
  measure: (passed: Passed) => Promise<Row[]>,
): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-bench-'))
  const passed = await Passed.start(join(folder, 'socket'), cpu, guestCpu, burst)
  try {
    const before = passed.exits
    const rows = await measure(passed)
    const moved = passed.exits - before
    if (moved !== 0n) throw new Error(`user space took part in ${rows[0]!.name}: ${moved} exits`)
    const said = "KVM's io_exits and mmio_exits did not move"
    return rows.map((row, i) =>
      i > 0 ? row : { ...row, reason: row.reason === undefined ? said : `${row.reason}; ${said}` },
    )
  } finally {
    await passed.close()
    rmSync(folder, { recursive: true })
  }
}

export async function userGuest(): Promise<Row[]> {
  const reason = obstacle()
  if (reason !== undefined)
    return [...unmeasuredLatency(ROUND_TRIP, 'us', reason), unmeasured(RATE, 'doorbells/s', reason)]
  const cpus = allowedCpus()
  const place = { cpu: cpus[0]!, guestCpu: cpus.at(-1)! }
  const { cpu, guestCpu } = place
  const trips = await passed(1, place, async (device) => {
    const kernel = new RoundTrip()
    await kernel.guest.start(guestCpu)
    try {
      return await compareLatency({
        name: ROUND_TRIP,
        unit: 'us',
        ours: () => device.play({ kind: 'roundTrips', count: ROUNDS }),
        limit: () =>
          runLimitForSamples('guest-roundtrip', ['epoll', ...guestForLimits(), cpu, guestCpu, ROUNDS]),
        peer: async () => {
          pinMainThread([cpu])
          const samples = await polled(kernel)
          pinMainThread(cpus)
          return samples
        },
        peerName: 'eventfds of no device',
        runs: RUNS,
      })
    } finally {
      await kernel.close()
    }
  })
  const rate = await passed(DOORBELLS, place, async (device) => [
    await compare({
      name: RATE,
      unit: 'doorbells/s',
      ours: async () => {
        const [nanoseconds = Number.NaN] = await device.play({ kind: 'rings', count: DOORBELLS })
        return (DOORBELLS / nanoseconds) * 1e9
      },
      limit: () => 1e9 / runLimit('guest-doorbell', [...guestForLimits(), cpu, guestCpu, DOORBELLS]),
      peer: NO_PEER,
      runs: RUNS,
    }),
  ])
  return [...trips, ...rate]
}
