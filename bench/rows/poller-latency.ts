// eventfd.poller.latency: a native thread signals one eventfd and waits for the answer on another; the answer comes from a
// handler of SignalPoller, from an epoll loop in C++, or from npm's epoll. On one core, then across two.
import { readSync, writeSync } from 'node:fs'

import { benchAddon, roundTripsOf } from '../addon.js'
import type { Row } from '../harness.js'
import { type Samples, compareLatency, unmeasuredLatency } from '../latency.js'
import { runLimitForSamples } from '../limits.js'
import { allowedCpus, pinMainThread, pinProcess } from '../machine.js'
import { peer } from '../peers.js'
import { EventFd, SignalPoller } from '../../ts/index.js'

const ROUNDS = { oneCore: 10_000, acrossCores: 3_000 }

/** Lets the partner play and waits for its time, while `answer` runs. Turns of the event loop do the rest. */
async function play(
  ping: EventFd,
  pong: EventFd,
  cpu: number,
  rounds: number,
  finished: Promise<void>,
): Promise<Float64Array> {
  const partner = benchAddon.partnerStart(ping.fd, pong.fd, cpu, rounds, false)
  await finished
  return roundTripsOf(partner, rounds)
}

function ours(cpu: number, rounds: number): Samples {
  return async () => {
    const [ping, pong] = [new EventFd(), new EventFd()]
    const poller = new SignalPoller()
    const { promise, resolve } = withResolvers()
    let left = rounds
    poller.add(ping, () => {
      pong.signal()
      if (--left === 0) resolve()
    })
    const times = await play(ping, pong, cpu, rounds, promise)
    poller.close()
    ping.close()
    pong.close()
    return times
  }
}

function npmEpoll(cpu: number, rounds: number): Samples | { none: string } {
  const epoll = peer('epoll')
  if ('none' in epoll) return epoll
  const { Epoll } = epoll
  const one = new Uint8Array(new BigUint64Array([1n]).buffer)
  const value = new Uint8Array(8)
  return async () => {
    const [ping, pong] = [new EventFd(), new EventFd()]
    const [pingFd, pongFd] = [ping.fd, pong.fd]
    const { promise, resolve } = withResolvers()
    let left = rounds
    const poller = new Epoll(() => {
      readSync(pingFd, value)
      writeSync(pongFd, one)
      if (--left === 0) resolve()
    })
    poller.add(pingFd, Epoll.EPOLLIN)
    const times = await play(ping, pong, cpu, rounds, promise)
    poller.remove(pingFd)
    poller.close()
    ping.close()
    pong.close()
    return times
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

async function pingPong(name: string, cpu: number, partnerCpu: number, rounds: number): Promise<Row[]> {
  return compareLatency({
    name,
    unit: 'ns',
    ours: ours(partnerCpu, rounds),
    limit: () => runLimitForSamples('poller-latency', [cpu, partnerCpu, rounds]),
    peer: npmEpoll(partnerCpu, rounds),
    peerName: 'epoll',
  })
}

export async function pollerLatency(): Promise<Row[]> {
  const cpus = allowedCpus()
  const [first, last] = [cpus[0]!, cpus.at(-1)!]
  const rows: Row[] = []
  // Node's other threads come along: npm's epoll answers through one of its own.
  peer('epoll')
  pinProcess([last])
  rows.push(...(await pingPong('eventfd.poller.latency.oneCore', last, last, ROUNDS.oneCore)))
  pinProcess(cpus)
  if (first === last) {
    rows.push(
      ...unmeasuredLatency('eventfd.poller.latency.acrossCores', 'ns', 'this process may use one CPU only'),
    )
    return rows
  }
  pinMainThread([first])
  rows.push(...(await pingPong('eventfd.poller.latency.acrossCores', first, last, ROUNDS.acrossCores)))
  pinMainThread(cpus)
  return rows
}
