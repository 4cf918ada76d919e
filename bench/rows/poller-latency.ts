// eventfd.poller.latency: a native thread signals one eventfd and waits for the answer on another; the answer comes from a
// handler of SignalPoller, from an epoll loop in C++, or from npm's epoll. On one core, then across two.
import { readSync, writeSync } from 'node:fs'

import { benchAddon as addon } from '../addon.js'
import type { Row } from '../harness.js'
import { compareLatency, unmeasuredLatency } from '../latency.js'
import { runLimitForSamples } from '../limits.js'
import { allowedCpus, pinMainThread, pinProcess } from '../machine.js'
import { peer } from '../peers.js'
import { answeredByPoller, countdown, type Game, pingPong, type Samples } from '../../ts/measure/work.js'

const ROUNDS = { oneCore: 10_000, acrossCores: 3_000 }

function npmEpoll(game: Game): Samples | { none: string } {
  const epoll = peer('epoll')
  if ('none' in epoll) return epoll
  const { Epoll } = epoll
  const one = new Uint8Array(new BigUint64Array([1n]).buffer)
  const value = new Uint8Array(8)
  return pingPong(game, ({ fd: ping }, { fd: pong }) => {
    const { done, count } = countdown(game.rounds)
    const poller = new Epoll(() => {
      readSync(ping, value)
      writeSync(pong, one)
      count()
    })
    poller.add(ping, Epoll.EPOLLIN)
    return {
      play: () => done,
      close: () => {
        poller.remove(ping)
        poller.close()
      },
    }
  })
}

async function latency(name: string, cpu: number, partnerCpu: number, rounds: number): Promise<Row[]> {
  const game = { addon, cpu: partnerCpu, rounds }
  return compareLatency({
    name,
    unit: 'ns',
    ours: answeredByPoller(game),
    limit: () => runLimitForSamples('poller-latency', [cpu, partnerCpu, rounds]),
    peer: npmEpoll(game),
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
  rows.push(...(await latency('eventfd.poller.latency.oneCore', last, last, ROUNDS.oneCore)))
  pinProcess(cpus)
  if (first === last) {
    rows.push(
      ...unmeasuredLatency('eventfd.poller.latency.acrossCores', 'ns', 'this process may use one CPU only'),
    )
    return rows
  }
  pinMainThread([first])
  rows.push(...(await latency('eventfd.poller.latency.acrossCores', first, last, ROUNDS.acrossCores)))
  pinMainThread(cpus)
  return rows
}
