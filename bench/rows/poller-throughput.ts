// eventfd.poller.throughput: many eventfds are ready at once; how many events per second reach their handlers.
import { readSync } from 'node:fs'

import { type Beside, type Row, compare } from '../harness.js'
import { runLimit } from '../limits.js'
import { peer } from '../peers.js'
import { perSecond, rate } from '../../ts/measure/work.js'
import { EventFd, SignalPoller } from '../../ts/index.js'

const EVENTFDS = 1024
const ROUNDS = 40

const many = (): EventFd[] => Array.from({ length: EVENTFDS }, () => new EventFd())

function npmEpoll(eventfds: readonly EventFd[], close: (() => void)[]): Beside {
  const epoll = peer('epoll')
  if ('none' in epoll) return epoll
  const value = new Uint8Array(8)
  return rate(eventfds, 2, (arrived) => {
    const poller = new epoll.Epoll((_error, fd) => {
      readSync(fd, value)
      arrived()
    })
    for (const { fd } of eventfds) poller.add(fd, epoll.Epoll.EPOLLIN)
    close.push(() => {
      for (const { fd } of eventfds) poller.remove(fd)
      poller.close()
    })
  })
}

export async function pollerThroughput(): Promise<Row[]> {
  const [own, others] = [many(), many()]
  const poller = new SignalPoller()
  const close = [() => poller.close()]
  const row = await compare({
    name: 'eventfd.poller.throughput',
    unit: 'events/s',
    ours: rate(own, ROUNDS, (arrived) => {
      for (const eventfd of own) poller.add(eventfd, arrived)
    }),
    limit: () => perSecond(runLimit('poller-throughput', [EVENTFDS, ROUNDS])),
    peer: npmEpoll(others, close),
    peerName: 'epoll',
  })
  for (const undo of close) undo()
  for (const eventfd of [...own, ...others]) eventfd.close()
  return [row]
}
