// The far end of a guest: serves a device whose interrupts the guest takes and whose doorbell it rings, and counts.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'

import { benchAddon } from '../addon.js'
import { serveDevice } from './device.js'
import type { ServedInWorker } from './worker.js'

/** What is to be played: so many round trips, or one interrupt and so many rings. */
export interface Game {
  readonly kind: 'roundTrips' | 'rings'
  readonly count: number
}

/** Nanoseconds: of each round trip, or of all rings. */
export type Played = Float64Array

const THIS_THREAD = 0
const NANOSECONDS_PER_MILLISECOND = 1e6

const port = parentPort as MessagePort
const { path, cpu } = workerData as ServedInWorker
benchAddon.pin(THIS_THREAD, [cpu])

let onRing: (count: number) => void = () => undefined
const { device } = serveDevice(path, 'loop', (count) => onRing(count))

function nanosecondsSince(start: number): number {
  return (performance.now() - start) * NANOSECONDS_PER_MILLISECOND
}

/** Twice as many rounds as are kept: the first half warms up, as in the limit. */
function roundTrips(rounds: number): void {
  const samples = new Float64Array(rounds)
  let round = 0
  let start = 0
  const next = (): void => {
    start = performance.now()
    device.raise('msix', 0)
  }
  onRing = () => {
    samples[round % rounds] = nanosecondsSince(start)
    if (++round < 2 * rounds) next()
    else port.postMessage(samples)
  }
  next()
}

function rings(expected: number): void {
  let heard = 0
  const start = performance.now()
  onRing = (count) => {
    heard += count
    if (heard >= expected) port.postMessage(Float64Array.of(nanosecondsSince(start)))
  }
  device.raise('msix', 0)
}

port.on('message', ({ kind, count }: Game) => {
  if (kind === 'rings') rings(count)
  else roundTrips(count)
})
port.postMessage('ready')
