// SignalWaiter: what a wait brings, what it refuses, and that a blocked one ends with its thread.
import test from 'ava'

import { EventFd, SignalPoller, SignalWaiter, VfioError } from '../../../ts/index.js'
import { SANITIZED, ended, held, inChild, inWorker, message, until } from '../support.js'

function many(count: number): EventFd[] {
  return Array.from({ length: count }, () => new EventFd())
}

function closeAll(eventfds: readonly EventFd[]): void {
  for (const eventfd of eventfds) eventfd.close()
}

/** What a wait left, as [index, count] pairs in order of the index. */
function taken(waiter: SignalWaiter, entries: number): [number, number][] {
  return Array.from({ length: entries }, (_, i): [number, number] => [
    waiter.ready[i]!,
    waiter.counts[i]!,
  ]).sort(([a], [b]) => a - b)
}

const inUse = { instanceOf: VfioError, code: 'EBUSY' }

for (const spinMicros of [0, 200]) {
  // Few are read one by one by a spin, many are found by epoll.
  for (const size of [1, 4, 5, 300]) {
    test(`spin ${String(spinMicros)}, ${String(size)} eventfds: counts are whole, each once`, (t) => {
      const eventfds = many(size)
      using waiter = new SignalWaiter(eventfds, { spinMicros })
      t.is(waiter.size, size)
      eventfds.forEach((eventfd, i) => {
        eventfd.signal(i + 1)
        eventfd.signal()
      })
      const entries = waiter.wait()
      t.deepEqual(
        taken(waiter, entries),
        eventfds.map((_, i): [number, number] => [i, i + 2]),
      )
      t.is(waiter.wait(0), 0)
      const last = eventfds.at(-1)!
      last.signal(9)
      t.deepEqual(taken(waiter, waiter.wait(1000)), [[size - 1, 9]])
      t.is(waiter.counters.waits, 3)
      t.is(waiter.counters.events, size + 1)
      t.is(waiter.counters.signals, (size * (size + 1)) / 2 + size + 9)
      t.is(waiter.counters.spun > 0, spinMicros > 0)
      closeAll(eventfds)
      t.is(waiter.size, 0, 'a closed eventfd is no longer watched')
    })
  }
}

test('more ready than one wait holds: the rest comes next, nobody twice', (t) => {
  const eventfds = many(1500)
  using waiter = new SignalWaiter(eventfds)
  for (const eventfd of eventfds) eventfd.signal()
  const first = taken(waiter, waiter.wait(0))
  for (const [index] of first) eventfds[index]!.signal()
  t.is(first.length, 1024)
  const seen = new Set(first.map(([index]) => index))
  for (const [index] of taken(waiter, waiter.wait(0))) seen.add(index)
  t.is(seen.size, 1500)
  closeAll(eventfds)
})

test('timeouts are kept, in slices too', (t) => {
  using eventfd = new EventFd()
  using waiter = new SignalWaiter([eventfd], { spinMicros: 1000 })
  for (const milliseconds of [0, 1, 20, 150]) {
    const start = performance.now()
    t.is(waiter.wait(milliseconds), 0)
    const spent = performance.now() - start
    t.true(
      spent >= milliseconds - 0.01 && spent < milliseconds + 100,
      `${String(milliseconds)}: ${String(spent)}`,
    )
    t.false(waiter.woken)
  }
})

test('a semaphore brings one at a time', (t) => {
  using eventfd = new EventFd({ initial: 2, semaphore: true })
  using waiter = new SignalWaiter([eventfd])
  for (const entries of [1, 1, 0]) {
    t.is(waiter.wait(0), entries)
    if (entries > 0) t.is(waiter.counts[0], 1)
  }
})

test('counts up to 2^53 are exact', (t) => {
  using eventfd = new EventFd()
  using waiter = new SignalWaiter([eventfd])
  eventfd.signal(Number.MAX_SAFE_INTEGER)
  t.is(waiter.wait(), 1)
  t.is(waiter.counts[0], Number.MAX_SAFE_INTEGER)
})

test('wake() before a wait ends that one, however often it was called; events come with it', (t) => {
  using eventfd = new EventFd()
  for (const spinMicros of [0, 100]) {
    using waiter = new SignalWaiter([eventfd], { spinMicros })
    waiter.wake()
    waiter.wake()
    t.is(waiter.wait(), 0)
    t.true(waiter.woken)
    t.is(waiter.wait(0), 0)
    t.false(waiter.woken)
    eventfd.signal()
    waiter.wake()
    const entries = waiter.wait()
    if (!waiter.woken) waiter.wait()
    t.is(entries, 1)
    t.true(waiter.woken)
    t.is(waiter.wait(0), 0)
    t.false(waiter.woken)
    t.is(waiter.counters.woken, 2)
  }
})

test('add and remove: indices are given again, and what was not taken stays', (t) => {
  const eventfds = many(3)
  const [a, b, c] = eventfds as [EventFd, EventFd, EventFd]
  using waiter = new SignalWaiter([a, b])
  b.signal(5)
  t.true(waiter.remove(b))
  t.false(waiter.remove(b))
  t.is(waiter.wait(0), 0)
  t.is(b.read(), 5)
  t.is(waiter.add(c), 1)
  t.is(waiter.add(b), 2)
  c.signal(7)
  b.signal(8)
  t.deepEqual(taken(waiter, waiter.wait(0)), [
    [1, 7],
    [2, 8],
  ])
  c.close()
  t.is(waiter.size, 2)
  closeAll(eventfds)
})

test('an eventfd has one reader: poller, loop and waiter exclude each other', async (t) => {
  const eventfds = many(2)
  const [a, b] = eventfds as [EventFd, EventFd]
  using poller = new SignalPoller()
  poller.add(a, () => undefined)
  const refused = t.throws(() => new SignalWaiter([b, a]), inUse)
  t.is(refused.reason, 'eventfd-in-use')
  t.regex(refused.remedy ?? '', /poller, waiter or loop .* close the wire/)
  poller.remove(a)
  using waiter = new SignalWaiter([b, a])
  t.throws(() => {
    poller.add(a, () => undefined)
  }, inUse)
  t.throws(() => a[Symbol.asyncIterator](), inUse)
  t.throws(() => new SignalWaiter([a]), inUse)
  t.throws(() => waiter.add(a), inUse)
  waiter.close()
  waiter.close()
  const events = a[Symbol.asyncIterator]()
  t.throws(() => new SignalWaiter([a]), inUse)
  await events.return?.()
  new SignalWaiter([a]).close()
  t.is(poller.size, 0)
  closeAll(eventfds)
})

test('bad arguments are refused with the bound', (t) => {
  using eventfd = new EventFd()
  using waiter = new SignalWaiter([eventfd])
  const range = { instanceOf: RangeError }
  t.throws(() => waiter.wait(-1), { ...range, message: /0 to 2147483647/ })
  t.throws(() => waiter.wait(1.5), range)
  t.throws(() => waiter.wait(2 ** 31), range)
  t.throws(() => new SignalWaiter([], { spinMicros: 10_001 }), { ...range, message: /0 to 10000/ })
  t.throws(() => new SignalPoller({ spinMicros: 10_001 }), { ...range, message: /0 to 10000/ })
  const type = { instanceOf: TypeError }
  t.throws(() => waiter.wait('1' as unknown as number), type)
  t.throws(() => new SignalWaiter(eventfd as unknown as EventFd[]), type)
  t.throws(() => new SignalWaiter([{} as never]), type)
  t.throws(() => waiter.add(3 as unknown as EventFd), type)
  t.throws(() => SignalWaiter.claim(eventfd.share()), type)
  waiter.close()
  const closed = { instanceOf: VfioError, code: 'EBADF' }
  t.throws(() => waiter.wait(), closed)
  t.throws(() => {
    waiter.wake()
  }, closed)
  t.throws(() => waiter.add(eventfd), closed)
})

test('results cannot be taken away from a wait: it leaves them where they were, or takes nothing', (t) => {
  using eventfd = new EventFd({ initial: 1 })
  using waiter = new SignalWaiter([eventfd])
  t.is(waiter.wait(), 1)
  const buffer = waiter.counts.buffer as ArrayBuffer & { transfer?: () => ArrayBuffer }
  try {
    // Node.js copies what it will not transfer, or says so.
    structuredClone(buffer, { transfer: [buffer] })
  } catch (error) {
    t.true(error instanceof DOMException)
  }
  eventfd.signal(5)
  t.is(waiter.wait(), 1)
  t.is(waiter.counts[0], 5)
  if (buffer.transfer === undefined) return
  try {
    buffer.transfer()
  } catch (error) {
    t.true(error instanceof TypeError)
    return
  }
  eventfd.signal()
  t.throws(() => waiter.wait(), { instanceOf: TypeError, message: /transferred/ })
  t.is(eventfd.read(), 1)
})

// The Worker makes the waiter; this thread claims it.
const WAITING = `const eventfd = vfio.EventFd.claim(data.token)
const waiter = new vfio.SignalWaiter([eventfd], { spinMicros: data.spinMicros })
port.postMessage(waiter.share())
const say = () => port.postMessage([waiter.wait(), waiter.woken, waiter.ready[0], waiter.counts[0]])
say()
`

/** Resolves when a thread of the process sleeps in, or keeps trying, a wait: another wait is refused then. */
async function waiting(waiter: SignalWaiter): Promise<void> {
  await until(() => {
    try {
      waiter.wait(0)
      return false
    } catch {
      return true
    }
  })
}

for (const spinMicros of [0, 10_000]) {
  test(`another thread wakes a wait, adds to it and removes (spin ${String(spinMicros)})`, async (t) => {
    const eventfds = many(2)
    const [first, added] = eventfds as [EventFd, EventFd]
    const worker = inWorker(`${WAITING} say(); say(); waiter.close()`, { token: first.share(), spinMicros })
    const waiter = SignalWaiter.claim((await message(worker)) as ReturnType<SignalWaiter['share']>)
    await waiting(waiter)
    const busy = t.throws(() => waiter.wait(0), inUse)
    t.regex(busy.message, /thread/)
    waiter.wake()
    t.deepEqual(((await message(worker)) as unknown[]).slice(0, 2), [0, true])
    await waiting(waiter)
    t.is(waiter.add(added), 1)
    added.signal(6)
    t.deepEqual(await message(worker), [1, false, 1, 6])
    await waiting(waiter)
    t.true(waiter.remove(added))
    added.signal(2)
    first.signal(3)
    t.deepEqual(await message(worker), [1, false, 0, 3])
    t.is(added.read(), 2)
    t.is(await ended(worker), 0)
    t.is(waiter.wait(0), 0)
    waiter.close()
    closeAll(eventfds)
  })
}

test.serial('a terminated Worker leaves its wait within 200 ms, and its eventfds to others', async (t) => {
  const before = held().descriptors.length
  for (const spinMicros of [0, 10_000]) {
    using eventfd = new EventFd()
    const worker = inWorker(WAITING, { token: eventfd.share(), spinMicros })
    const waiter = SignalWaiter.claim((await message(worker)) as ReturnType<SignalWaiter['share']>)
    await waiting(waiter)
    waiter.close()
    const start = performance.now()
    await worker.terminate()
    const spent = performance.now() - start
    t.true(spent < 200, `took ${String(spent)} ms`)
    new SignalWaiter([eventfd]).close()
  }
  await until(() => held().descriptors.length <= before)
  t.is(held().descriptors.length, before)
})

const BLOCKED = `
const eventfd = new vfio.EventFd()
const worker = support.inWorker(${JSON.stringify(WAITING)}, { token: eventfd.share(), spinMicros: 0 })
const token = await support.message(worker)
const waiter = vfio.SignalWaiter.claim(token)
await support.until(() => { try { waiter.wait(0); return false } catch { return true } })
const { writeSync } = await import('node:fs')
writeSync(1, String(Date.now()))
`

for (const [name, how, status] of [
  ['process.exit()', 'process.exit(3)', 3],
  ['an uncaught throw', 'setImmediate(() => { throw new Error("on purpose") })', 1],
  ['the end of the main module', 'worker.unref()', 0],
] as const) {
  test.serial(`${name} ends a process whose Worker waits, within 200 ms`, async (t) => {
    const child = await inChild(BLOCKED + how)
    const spent = Date.now() - Number(child.stdout)
    t.is(child.status, status, child.stderr)
    t.is(child.signal, null)
    // Beside the slice: what Node itself needs to end, and this process to hear of it.
    t.true(spent < (SANITIZED ? 10_000 : 200), `took ${String(spent)} ms`)
  })
}

test.serial('a throw and process.exit() in the Worker after a wait behave as anywhere', async (t) => {
  using eventfd = new EventFd()
  const worker = inWorker(
    'const w = new vfio.SignalWaiter([vfio.EventFd.claim(data)]); w.wait(); process.exit(5)',
    eventfd.share(),
  )
  eventfd.signal()
  t.is(await ended(worker), 5)
  new SignalWaiter([eventfd]).close()
})

test.serial('waiters that are opened and closed leave no descriptor', (t) => {
  const before = held().descriptors.length
  using eventfd = new EventFd({ initial: 1 })
  for (let i = 0; i < 300; i++) {
    const waiter = new SignalWaiter([eventfd], { spinMicros: i % 2 })
    if (i % 7 === 0) waiter.wake()
    waiter.wait(0)
    waiter.close()
  }
  t.is(held().descriptors.length, before + 1)
})

test('a poller that spins delivers what comes in time, and lets the event loop turn', async (t) => {
  const eventfds = many(2)
  const [a, b] = eventfds as [EventFd, EventFd]
  using poller = new SignalPoller({ spinMicros: 2000 })
  let turns = 0
  let calls = 0
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  setImmediate(function again() {
    turns++
    if (calls < 5000) setImmediate(again)
  })
  poller.add(a, () => {
    b.signal()
  })
  poller.add(b, () => {
    if (++calls === 5000) resolve()
    else a.signal()
  })
  a.signal()
  await promise
  const { wakes, events } = poller.counters
  t.is(events, 10_000)
  t.true(wakes <= events)
  // A spin answers 64 times at most before everything else has its turn.
  t.true(turns >= 10_000 / 65 / 2, `${String(turns)} turns`)
  closeAll(eventfds)
})

test('a poller that spins may be closed by its handler', async (t) => {
  using eventfd = new EventFd({ initial: 1 })
  const poller = new SignalPoller({ spinMicros: 1000 })
  let calls = 0
  poller.add(eventfd, () => {
    calls++
    eventfd.signal()
    if (calls === 3) poller.close()
  })
  await until(() => poller.closed)
  t.is(calls, 3)
  t.is(eventfd.read(), 1)
})
