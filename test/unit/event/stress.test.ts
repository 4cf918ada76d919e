// A day of doorbells in a few seconds: none is lost and none is counted twice, however they come and whoever stops
// listening meanwhile; what the process holds does not grow.
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test from 'ava'

import { EventFd, type ShareToken, SignalPoller, SignalWaiter } from '../../../ts/index.js'
import { Account, holding } from '../../stress/account.js'
import { bursts, numbers } from '../../stress/bursts.js'
import type { Heard, ListenerData } from '../../stress/listener.js'
import { ring } from '../../stress/start-ringer.js'
import { SANITIZED, until } from '../support.js'

const BELLS = 64
const TOTAL = 5_000_000
// What garbage and allocators may keep.
const MOST_MEBIBYTES = SANITIZED ? 300 : 24

test('bursts are as many rings as asked for, of all kinds, and the same for the same seed', (t) => {
  const all = [...bursts(7, 100_000, 3)]
  t.is(
    all.reduce((sum, { rings }) => sum + rings, 0),
    100_000,
  )
  t.deepEqual(all, [...bursts(7, 100_000, 3)])
  t.notDeepEqual(all, [...bursts(7, 100_000, 4)])
  t.deepEqual([...new Set(all.map(({ bell }) => bell))].sort(), [0, 1, 2, 3, 4, 5, 6])
  t.true(all.some(({ rings }) => rings === 1) && all.some(({ rings }) => rings > 1000))
  t.true(all.some(({ pause }) => pause > 0) && all.some(({ pause }) => pause === 0))
})

/** Two pollers, between which bells move while they ring. */
async function poll(eventfds: readonly EventFd[], total: number, seed: number, spinMicros: number) {
  const number = numbers(seed)
  const account = new Account(eventfds.length)
  const pollers = [new SignalPoller({ spinMicros }), new SignalPoller({ spinMicros })]
  const owner = eventfds.map(() => 0)
  const listen = (bell: number): void => {
    pollers[owner[bell]!]!.add(eventfds[bell]!, (count) => {
      account.hear(bell, count)
      if (number(8) === 0) move(number(eventfds.length))
    })
  }
  let moves = 0
  const move = (bell: number): void => {
    pollers[owner[bell]!]!.remove(eventfds[bell]!)
    owner[bell] = 1 - owner[bell]!
    listen(bell)
    moves++
  }
  for (const bell of eventfds.keys()) listen(bell)
  const rung = await ring(eventfds, total, seed)
  await until(() => account.total >= total)
  await setImmediate()
  for (const poller of pollers) poller.close()
  return { rung, heard: account.heard, moves }
}

for (const spinMicros of [0, 50]) {
  test.serial(
    `pollers that spin for ${String(spinMicros)} us hear each of ${String(TOTAL / 2)} rings`,
    async (t) => {
      const eventfds = Array.from({ length: BELLS }, () => new EventFd())
      await poll(eventfds, 200_000, 1, spinMicros)
      const grown = holding()
      const { rung, heard, moves } = await poll(eventfds, TOTAL / 2, 2, spinMicros)
      t.deepEqual(heard, rung)
      t.true(moves > 100, `${String(moves)} moves`)
      t.true(eventfds.every((eventfd) => eventfd.read() === 0))
      const { descriptors, mebibytes } = grown()
      t.is(descriptors, 0)
      t.true(mebibytes < MOST_MEBIBYTES, `${String(mebibytes)} MiB more`)
      for (const eventfd of eventfds) eventfd.close()
    },
  )
}

/** A Worker that waits. */
async function wait(eventfds: readonly EventFd[], total: number, seed: number, spinMicros: number) {
  const workerData: ListenerData = { tokens: eventfds.map((eventfd) => eventfd.share()), seed, spinMicros }
  const worker = new Worker(new URL('../../stress/listener.js', import.meta.url), { workerData })
  // Before its last message: a Worker's end may be told in the same turn.
  const exit = once(worker, 'exit')
  const [token] = (await once(worker, 'message')) as [ShareToken]
  const waiter = SignalWaiter.claim(token)
  const rung = await ring(eventfds, total, seed)
  const answer = once(worker, 'message') as Promise<[Heard]>
  waiter.wake()
  const [last] = await answer
  waiter.close()
  await exit
  return { rung, ...last }
}

for (const spinMicros of [0, 50]) {
  test.serial(
    `a waiter that spins for ${String(spinMicros)} us hears each of ${String(TOTAL / 2)} rings`,
    async (t) => {
      const eventfds = Array.from({ length: BELLS }, () => new EventFd())
      await wait(eventfds, 200_000, 1, spinMicros)
      const grown = holding()
      const { rung, heard, removed } = await wait(eventfds, TOTAL / 2, 2, spinMicros)
      t.deepEqual(heard, rung)
      t.true(removed > 100, `removed ${String(removed)} times`)
      t.true(eventfds.every((eventfd) => eventfd.read() === 0))
      const { descriptors, mebibytes } = grown()
      t.is(descriptors, 0)
      t.true(mebibytes < MOST_MEBIBYTES, `${String(mebibytes)} MiB more`)
      for (const eventfd of eventfds) eventfd.close()
    },
  )
}
