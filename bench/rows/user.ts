// user.register.*: a client in C++ reads a register of a device that TypeScript serves, in a Worker that blocks or from the main
// thread's event loop, beside a server in C++ that takes messages as libvfio-user does. user.client.register: the other way
// round, VfioDevice as the client of that server, beside the client in C++. The peer is what a socket costs at least.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

import type { Row } from '../harness.js'
import { compareLatency, unmeasuredLatency } from '../latency.js'
import { runLimitForSamples, runLimitForSamplesBeside, startLimit } from '../limits.js'
import { allowedCpus, pinMainThread } from '../machine.js'
import { serveDevice } from '../user/device.js'
import type { ServedInWorker } from '../user/worker.js'
import type { Samples } from '../../ts/measure/work.js'
import { VfioDevice } from '../../ts/index.js'

const PROGRAM = 'socket-roundtrip'
const ROUNDS = { oneCore: 10_000, acrossCores: 3_000 }
const REGISTER = 0
const NANOSECONDS_PER_MILLISECOND = 1e6

/** Where the two ends run. */
interface Place {
  readonly kind: keyof typeof ROUNDS
  readonly client: number
  readonly server: number
}

async function atPath<T>(use: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-bench-'))
  try {
    return await use(join(folder, 'socket'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function places(): Place[] {
  const cpus = allowedCpus()
  const [first, last] = [cpus[0]!, cpus.at(-1)!]
  const oneCore: Place = { kind: 'oneCore', client: last, server: last }
  return first === last ? [oneCore] : [oneCore, { kind: 'acrossCores', client: first, server: last }]
}

/** A row in each place, and why there is none across cores where there is but one. */
async function inEachPlace(
  name: string,
  measure: (name: string, place: Place) => Promise<Row[]>,
): Promise<Row[]> {
  const rows: Row[] = []
  const all = places()
  for (const place of all) rows.push(...(await measure(`${name}.${place.kind}`, place)))
  if (all.length === 1)
    rows.push(...unmeasuredLatency(`${name}.acrossCores`, 'us', 'this process may use one CPU only'))
  return rows
}

function beside(name: string, place: Place, ours: Samples): Promise<Row[]> {
  const { kind, client, server } = place
  const program = (mode: 'parts' | 'bare'): Float64Array =>
    runLimitForSamples(PROGRAM, [mode, client, server, ROUNDS[kind]])
  return compareLatency({
    name,
    unit: 'us',
    ours,
    limit: () => program('parts'),
    peer: () => program('bare'),
    peerName: 'C++, a bare socket',
  })
}

function servedInWorker(name: string, place: Place): Promise<Row[]> {
  return atPath(async (path) => {
    const data: ServedInWorker = { path, cpu: place.server }
    const worker = new Worker(new URL('../user/worker.js', import.meta.url), { workerData: data })
    await once(worker, 'message')
    try {
      return await beside(name, place, () =>
        runLimitForSamplesBeside(PROGRAM, ['client', place.client, path, ROUNDS[place.kind]]),
      )
    } finally {
      await worker.terminate()
    }
  })
}

function servedFromLoop(name: string, place: Place): Promise<Row[]> {
  return atPath(async (path) => {
    const served = serveDevice(path, 'loop')
    const before = allowedCpus()
    pinMainThread([place.server])
    try {
      return await beside(name, place, () =>
        runLimitForSamplesBeside(PROGRAM, ['client', place.client, path, ROUNDS[place.kind]]),
      )
    } finally {
      pinMainThread(before)
      served.close()
    }
  })
}

export async function userServer(): Promise<Row[]> {
  return [
    ...(await inEachPlace('user.register.worker', servedInWorker)),
    ...(await inEachPlace('user.register.loop', servedFromLoop)),
  ]
}

function ownClient(name: string, place: Place): Promise<Row[]> {
  return atPath(async (path) => {
    const server = await startLimit(PROGRAM, ['serve', place.server, path])
    const device = await VfioDevice.connect(path, { watch: false })
    const region = device.region('bar0')
    const rounds = ROUNDS[place.kind]
    const before = allowedCpus()
    pinMainThread([place.client])
    try {
      return await beside(name, place, () => {
        const samples = new Float64Array(rounds)
        for (let round = 0; round < rounds; round++) {
          const start = performance.now()
          region.read32(REGISTER)
          samples[round] = (performance.now() - start) * NANOSECONDS_PER_MILLISECOND
        }
        return samples
      })
    } finally {
      pinMainThread(before)
      await device.close()
      await server.close()
    }
  })
}

export function userClient(): Promise<Row[]> {
  return inEachPlace('user.client.register', ownClient)
}
