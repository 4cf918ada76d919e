// `for await` on an EventFd: nothing lost, nothing read twice, and every way out of the loop.
import { setImmediate } from 'node:timers/promises'
import test from 'ava'

import { EventFd, SignalPoller, VfioError } from '../../../ts/index.js'
import { inChild, until } from '../support.js'

test('gives the counts, and what arrives while the consumer is busy adds up', async (t) => {
  using eventfd = new EventFd()
  const seen: number[] = []
  let total = 0
  let sent = 3
  eventfd.signal(3)
  for await (const count of eventfd) {
    seen.push(count)
    total += count
    if (total === 1003) break
    for (let i = 0; i < 100 && sent < 1003; i++) {
      eventfd.signal(1)
      sent++
      if (i % 10 === 0) await setImmediate()
    }
  }
  t.is(seen[0], 3)
  t.is(total, 1003)
  t.is(eventfd.read(), 0)
})

test('leaving early gives the rest back and frees the eventfd for another reader', async (t) => {
  using eventfd = new EventFd()
  eventfd.signal(1)
  for await (const count of eventfd) {
    t.is(count, 1)
    eventfd.signal(5)
    // Let the poller take it, so that it lies with the iterator when the loop is left.
    for (let i = 0; i < 5; i++) await setImmediate()
    break
  }
  t.is(eventfd.read(), 5)
  using poller = new SignalPoller()
  poller.add(eventfd, () => undefined)
  t.is(poller.size, 1)
})

test('close ends the loop', async (t) => {
  const eventfd = new EventFd()
  const loop = (async () => {
    let sum = 0
    for await (const count of eventfd) sum += count
    return sum
  })()
  eventfd.signal(7)
  for (let i = 0; i < 5; i++) await setImmediate()
  eventfd.close()
  t.is(await loop, 7)
})

test('what was collected before the close is still given', async (t) => {
  const eventfd = new EventFd()
  const events = eventfd[Symbol.asyncIterator]()
  eventfd.signal(2)
  for (let i = 0; i < 5; i++) await setImmediate()
  eventfd.close()
  t.deepEqual(await events.next(), { done: false, value: 2 })
  t.deepEqual(await events.next(), { done: true, value: undefined })
  t.deepEqual(await events.return?.(), { done: true, value: undefined })
})

test('a second loop is EBUSY, and its end does not end the first', async (t) => {
  using eventfd = new EventFd()
  const first = eventfd[Symbol.asyncIterator]()
  for (let i = 0; i < 3; i++) {
    const error = t.throws(() => eventfd[Symbol.asyncIterator](), { instanceOf: VfioError, code: 'EBUSY' })
    t.is(error.reason, 'eventfd-in-use')
  }
  eventfd.signal(1)
  t.deepEqual(await first.next(), { done: false, value: 1 })
  await first.return?.()
  await eventfd[Symbol.asyncIterator]().return?.()
  t.is(eventfd.read(), 0)
})

test('several waits in flight are served in order, and end together', async (t) => {
  using eventfd = new EventFd()
  const events = eventfd[Symbol.asyncIterator]()
  const waits = [events.next(), events.next(), events.next()]
  eventfd.signal(1)
  t.is((await waits[0])?.value, 1)
  eventfd.signal(2)
  t.is((await waits[1])?.value, 2)
  await events.return?.()
  t.true((await waits[2])?.done)
})

test('a loop keeps the process alive, leaving it lets it end', async (t) => {
  const { status, stdout } = await inChild(`const eventfd = new vfio.EventFd()
    setTimeout(() => eventfd.signal(1), 50).unref()
    for await (const count of eventfd) { console.log(count); break }`)
  t.is(status, 0)
  t.is(stdout, '1\n')
})

test('a thousand loops leave nothing behind', async (t) => {
  using eventfd = new EventFd()
  for (let i = 0; i < 1000; i++) {
    const events = eventfd[Symbol.asyncIterator]()
    await events.return?.()
  }
  let sum = 0
  using poller = new SignalPoller()
  poller.add(eventfd, (count) => (sum += count))
  eventfd.signal(9)
  await until(() => sum > 0)
  t.is(sum, 9)
})
