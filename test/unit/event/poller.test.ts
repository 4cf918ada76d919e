// SignalPoller: delivery, fairness, and changes from inside a handler.
import { setImmediate } from 'node:timers/promises'
import test from 'ava'

import { EventFd, GuestMemory, SignalPoller, VfioError } from '../../../ts/index.js'
import { held, inChild, until } from '../support.js'

function many(count: number): EventFd[] {
  return Array.from({ length: count }, () => new EventFd())
}

function closeAll(eventfds: EventFd[]): void {
  for (const eventfd of eventfds) eventfd.close()
}

test('many eventfds: each handler gets its own counts, coalesced and complete', async (t) => {
  const eventfds = many(300)
  using poller = new SignalPoller()
  const sums = eventfds.map(() => 0)
  eventfds.forEach((eventfd, i) => {
    poller.add(eventfd, (count, source) => {
      t.is(source, eventfd)
      sums[i] = (sums[i] ?? 0) + count
    })
  })
  t.is(poller.size, 300)
  for (let round = 0; round < 10; round++) {
    eventfds.forEach((eventfd, i) => {
      eventfd.signal(i + 1)
      if (i % 3 === 0) eventfd.signal(1)
    })
    if (round % 2 === 0) await setImmediate()
  }
  const wanted = eventfds.map((_, i) => 10 * (i + 1 + (i % 3 === 0 ? 1 : 0)))
  await until(() => sums.every((sum, i) => sum === wanted[i]))
  t.deepEqual(sums, wanted)
  const { wakes, events, signals, mostPerWake } = poller.counters
  t.is(
    signals,
    wanted.reduce((a, b) => a + b),
  )
  t.true(wakes > 0 && events >= 300 && events <= 3000 && mostPerWake <= 300)
  closeAll(eventfds)
  t.is(poller.size, 0, 'a closed eventfd is no longer watched')
})

test('more ready than one wake holds: nobody waits for a second turn of another', async (t) => {
  const eventfds = many(1500)
  using poller = new SignalPoller()
  const turns = eventfds.map(() => 0)
  let delivered = 0
  eventfds.forEach((eventfd, i) => {
    poller.add(eventfd, () => {
      turns[i] = (turns[i] ?? 0) + 1
      delivered++
      // Always ready: without rotation those behind the first 1024 would starve.
      if (delivered < 15_000) eventfd.signal()
    })
    eventfd.signal()
  })
  await until(() => delivered >= 15_000, 20_000)
  t.true(Math.min(...turns) >= 8, `least ${String(Math.min(...turns))}`)
  t.true(Math.max(...turns) <= 13, `most ${String(Math.max(...turns))}`)
  t.is(poller.counters.mostPerWake, 1024)
  poller.close()
  closeAll(eventfds)
})

test('a reader has an eventfd for itself', (t) => {
  using eventfd = new EventFd()
  using poller = new SignalPoller()
  using other = new SignalPoller()
  poller.add(eventfd, () => undefined)
  for (const each of [poller, other]) {
    const error = t.throws(
      () => {
        each.add(eventfd, () => undefined)
      },
      { instanceOf: VfioError, code: 'EBUSY' },
    )
    t.is(error.reason, 'eventfd-in-use')
  }
  t.is(poller.size, 1)
  using second = EventFd.claim(eventfd.share())
  t.throws(
    () => {
      other.add(second, () => undefined)
    },
    { code: 'EBUSY' },
  )
  t.true(poller.remove(eventfd))
  t.false(poller.remove(eventfd))
  other.add(second, () => undefined)
  t.is(other.size, 1)
})

test('wrong arguments and closed objects', (t) => {
  const eventfd = new EventFd()
  const poller = new SignalPoller()
  const add =
    (...args: unknown[]) =>
    () => {
      ;(poller.add as (...args: unknown[]) => void).apply(poller, args)
    }
  using memory = GuestMemory.create(1)
  for (const wrong of [null, undefined, 5, {}, memory]) {
    t.throws(
      add(wrong, () => undefined),
      { instanceOf: TypeError },
    )
  }
  for (const wrong of [null, undefined, 5, {}]) t.throws(add(eventfd, wrong), { instanceOf: TypeError })
  t.throws(() => poller.remove({} as never), { instanceOf: TypeError })
  t.is(poller.size, 0)
  eventfd.close()
  t.throws(
    add(eventfd, () => undefined),
    { instanceOf: VfioError, code: 'EBADF' },
  )
  t.false(poller.remove(eventfd))
  poller.close()
  poller.close()
  t.true(poller.closed)
  using open = new EventFd()
  const error = t.throws(
    add(open, () => undefined),
    { instanceOf: VfioError, code: 'EBADF' },
  )
  t.is(error.reason, 'closed')
  t.is(poller.ref(), poller)
  t.is(poller.unref(), poller)
})

/** Makes all of them ready before the loop turns, so that one wake brings them all. */
async function batch(eventfds: EventFd[], poller: SignalPoller): Promise<void> {
  const { wakes } = poller.counters
  for (const eventfd of eventfds) eventfd.signal(3)
  await until(() => poller.counters.wakes > wakes)
}

test('removed by a handler of the same wake: its taken count goes back, its handler is not called', async (t) => {
  const eventfds = many(4)
  const [a, b, c, d] = eventfds as [EventFd, EventFd, EventFd, EventFd]
  using poller = new SignalPoller()
  const calls: string[] = []
  poller.add(a, () => {
    calls.push('a')
    poller.remove(c)
    poller.remove(b)
    poller.remove(a)
  })
  poller.add(b, () => calls.push('b'))
  poller.add(c, () => calls.push('c'))
  poller.add(d, () => calls.push('d'))
  await batch(eventfds, poller)
  t.deepEqual(calls, ['a', 'd'])
  t.deepEqual([a.read(), b.read(), c.read()], [0, 3, 3])
  closeAll(eventfds)
})

test('a slot that is freed and taken again in one wake gets nobody else’s event', async (t) => {
  const eventfds = many(3)
  const [a, b, late] = eventfds as [EventFd, EventFd, EventFd]
  using poller = new SignalPoller()
  const calls: string[] = []
  poller.add(a, () => {
    calls.push('a')
    poller.remove(b)
    poller.add(late, (count) => calls.push(`late ${String(count)}`))
    poller.add(b, (count) => calls.push(`b again ${String(count)}`))
  })
  poller.add(b, () => calls.push('b'))
  await batch([a, b], poller)
  // The next wake may have come already; had this one reached the slot's new owner, it would stand before 'b again'.
  await until(() => calls.length > 1)
  t.deepEqual(calls, ['a', 'b again 3'])
  late.signal(8)
  await until(() => calls.length > 2)
  t.deepEqual(calls, ['a', 'b again 3', 'late 8'])
  closeAll(eventfds)
})

test('closing the poller inside a handler: what was taken goes back', async (t) => {
  const eventfds = many(3)
  const poller = new SignalPoller()
  const calls: number[] = []
  eventfds.forEach((eventfd, i) => {
    poller.add(eventfd, () => {
      calls.push(i)
      poller.close()
    })
  })
  for (const eventfd of eventfds) eventfd.signal(2)
  await until(() => calls.length > 0)
  for (let i = 0; i < 3; i++) await setImmediate()
  t.is(calls.length, 1)
  t.deepEqual(eventfds.map((eventfd) => eventfd.read()).sort(), [0, 2, 2])
  closeAll(eventfds)
})

test('closing eventfds inside a handler, its own too', async (t) => {
  const eventfds = many(3)
  using poller = new SignalPoller()
  let calls = 0
  for (const eventfd of eventfds) {
    poller.add(eventfd, () => {
      calls++
      closeAll(eventfds)
    })
  }
  for (const eventfd of eventfds) eventfd.signal()
  await until(() => calls > 0)
  for (let i = 0; i < 3; i++) await setImmediate()
  t.is(calls, 1)
  t.is(poller.size, 0)
})

test('handlers added inside a handler are called for what is there already', async (t) => {
  const eventfds = many(2)
  const [a, b] = eventfds as [EventFd, EventFd]
  using poller = new SignalPoller()
  b.signal(5)
  let got = 0
  poller.add(a, () => {
    poller.add(b, (count) => (got = count))
  })
  a.signal()
  await until(() => got > 0)
  t.is(got, 5)
  closeAll(eventfds)
})

test('a semaphore is delivered one at a time', async (t) => {
  using eventfd = new EventFd({ initial: 3, semaphore: true })
  using poller = new SignalPoller()
  const counts: number[] = []
  poller.add(eventfd, (count) => counts.push(count))
  await until(() => counts.length === 3)
  t.deepEqual(counts, [1, 1, 1])
})

test('read by hand in between: no empty event', async (t) => {
  using eventfd = new EventFd()
  using poller = new SignalPoller()
  let calls = 0
  poller.add(eventfd, () => calls++)
  eventfd.signal()
  t.is(eventfd.read(), 1)
  for (let i = 0; i < 5; i++) await setImmediate()
  t.is(calls, 0)
})

test('an exception in a handler neither loses nor repeats events', async (t) => {
  const { status, stdout, stderr } = await inChild(`
    const errors = []
    process.on('uncaughtException', (error) => errors.push(error.message))
    const eventfds = Array.from({ length: 5 }, () => new vfio.EventFd())
    const poller = new vfio.SignalPoller()
    const sums = [0, 0, 0, 0, 0]
    eventfds.forEach((eventfd, i) => poller.add(eventfd, (count) => {
      sums[i] += count
      if (i % 2 === 0) throw new Error('handler ' + i)
      return Promise.resolve()
    }))
    for (let round = 0; round < 3; round++) {
      eventfds.forEach((eventfd, i) => eventfd.signal(i + 1))
      while (sums.some((sum, i) => sum < (round + 1) * (i + 1))) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    console.log(sums.join(), errors.length, errors.slice(0, 3).join())
    poller.close()`)
  t.is(status, 0, stderr)
  t.is(stdout, '3,6,9,12,15 9 handler 0,handler 2,handler 4\n')
})

test('an exception that nobody catches ends the process as any other does', async (t) => {
  const { status, stderr } = await inChild(`const eventfd = new vfio.EventFd({ initial: 1 })
    new vfio.SignalPoller().add(eventfd, () => { throw new Error('on purpose') })`)
  t.is(status, 1)
  t.regex(stderr, /on purpose/)
})

test('ref and unref decide whether a watch keeps the process alive', async (t) => {
  const ended = await inChild(`const eventfd = new vfio.EventFd()
    const idle = new vfio.SignalPoller()
    const poller = new vfio.SignalPoller()
    poller.add(eventfd, () => undefined)
    poller.unref()
    const removed = new vfio.SignalPoller()
    const other = new vfio.EventFd()
    removed.add(other, () => undefined)
    removed.remove(other)
    console.log('end')`)
  t.is(ended.status, 0)
  t.is(ended.stdout, 'end\n')

  const kept = await inChild(`const eventfd = new vfio.EventFd()
    const poller = new vfio.SignalPoller().unref()
    poller.add(eventfd, (count) => { console.log('got', count); poller.close() })
    poller.ref()
    setTimeout(() => eventfd.signal(4), 50).unref()
    process.on('exit', () => console.log('exit'))`)
  t.is(kept.status, 0)
  t.is(kept.stdout, 'got 4\nexit\n')
})

test('process.exit inside a handler, and handlers that never end their poller', async (t) => {
  const { status, stderr } =
    await inChild(`const eventfds = Array.from({ length: 10 }, () => new vfio.EventFd({ initial: 1 }))
    const poller = new vfio.SignalPoller()
    for (const eventfd of eventfds) poller.add(eventfd, () => process.exit(7))`)
  t.is(status, 7, stderr)
  t.is(stderr, '')
})

test.serial('pollers that are opened and closed leave no descriptor', async (t) => {
  const before = held().descriptors.length
  using eventfd = new EventFd()
  for (let i = 0; i < 200; i++) {
    const poller = new SignalPoller()
    poller.add(eventfd, () => undefined)
    if (i % 10 === 0) eventfd.signal()
    if (i % 3 === 0) await setImmediate()
    poller.close()
  }
  await until(() => held().descriptors.length <= before + 1)
  t.is(held().descriptors.length, before + 1)
})
