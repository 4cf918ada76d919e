// The package in Workers: several at once, sharing by token, and ends of every kind, which leave nothing behind.
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'

import { EventFd, GuestMemory, SignalPoller, VfioError } from '../../../ts/index.js'
import { type Held, ended, held, inChild, inWorker, memoryRegion, message, until } from '../support.js'

const ROUNDS = 50
const AT_ONCE = 5

/** libuv's threads and the guard's page exist from first use on: make them before counting. */
async function settledCount(): Promise<Held> {
  const memory = GuestMemory.create(4096)
  const region = memoryRegion(memory)
  region.read32(0)
  region.closeWithDevice()
  memory.close()
  const eventfd = new EventFd()
  await eventfd[Symbol.asyncIterator]().return?.()
  eventfd.close()
  const worker = inWorker('port.postMessage(1)')
  await message(worker)
  await worker.terminate()
  await sleep(20)
  return held()
}

async function sameAs(t: ExecutionContext, before: Held): Promise<void> {
  await until(() => JSON.stringify(held()) === JSON.stringify(before))
  t.deepEqual(held(), before)
}

/** Starts Workers that run `code` until it posts a message, and terminates them then. */
async function terminatedRepeatedly(t: ExecutionContext, code: string): Promise<void> {
  const before = await settledCount()
  for (let round = 0; round < ROUNDS; round += AT_ONCE) {
    const workers = Array.from({ length: AT_ONCE }, () => inWorker(code))
    await Promise.all(
      workers.map(async (worker, i) => {
        await message(worker)
        await sleep(i * 3)
        const started = performance.now()
        await worker.terminate()
        const took = performance.now() - started
        t.true(took < 5000, `terminate() took ${String(took)} ms`)
      }),
    )
  }
  await sameAs(t, before)
}

const OBJECTS = `const memory = vfio.GuestMemory.create(1 << 16)
  const bytes = new Uint8Array(memory.buffer)
  const region = support.memoryRegion(memory)
  region.read32(0)
  const eventfds = Array.from({ length: 20 }, () => new vfio.EventFd())
  const poller = new vfio.SignalPoller()
  for (const eventfd of eventfds) poller.add(eventfd, () => undefined)
  `

test.serial('terminated while waiting in a poller', async (t) => {
  await terminatedRepeatedly(t, `${OBJECTS} port.postMessage('ready'); setInterval(() => undefined, 1000)`)
})

test.serial('terminated while a register is polled', async (t) => {
  await terminatedRepeatedly(
    t,
    `${OBJECTS} port.postMessage('ready'); region.poll32(0, { equals: 1, timeoutMicros: 3_600_000_000 })`,
  )
})

test.serial('terminated in a for await', async (t) => {
  await terminatedRepeatedly(
    t,
    `${OBJECTS} const own = new vfio.EventFd(); port.postMessage('ready'); for await (const count of own) void count`,
  )
})

test.serial('terminated in the middle of a burst', async (t) => {
  await terminatedRepeatedly(
    t,
    `${OBJECTS}
    const hot = new vfio.SignalPoller()
    const ring = Array.from({ length: 64 }, () => new vfio.EventFd({ initial: 1 }))
    ring.forEach((each, i) => hot.add(each, () => {
      ring[(i + 1) % 64].signal()
      const short = new vfio.EventFd()
      hot.add(short, () => { hot.remove(short); short.close() })
      short.signal()
    }))
    setTimeout(() => port.postMessage('ready'), 5)`,
  )
})

test.serial('terminated while objects are destroyed off the thread', async (t) => {
  await terminatedRepeatedly(
    t,
    `port.postMessage('ready')
    for (;;) {
      const waits = Array.from({ length: 30 }, () => {
        const memory = vfio.GuestMemory.create(1 << 16)
        new Uint8Array(memory.buffer).fill(1)
        return addon().handleDestroy(memory.native)
      })
      await Promise.all(waits.slice(0, 10))
    }`,
  )
})

test.serial(
  'ended by process.exit in a handler, by a throw, and by running to its end with everything open',
  async (t) => {
    const before = await settledCount()
    const exits = [
      {
        code: `${OBJECTS} poller.add(new vfio.EventFd({ initial: 1 }), () => process.exit(3))`,
        status: 3,
        error: null,
      },
      {
        code: `${OBJECTS} poller.add(new vfio.EventFd({ initial: 1 }), () => { throw new Error('thrown') })`,
        status: 1,
        error: 'thrown',
      },
      { code: `${OBJECTS} poller.unref(); region.write32(0, 1)`, status: 0, error: null },
    ]
    for (let round = 0; round < 10; round++) {
      for (const { code, status, error } of exits) {
        const worker = inWorker(code)
        let seen = null as string | null
        worker.on('error', (each: Error) => (seen = each.message))
        t.is(await ended(worker), status)
        t.is(seen, error)
      }
    }
    await sameAs(t, before)
  },
)

test.serial('several Workers drive their own objects at once', async (t) => {
  const before = await settledCount()
  const code = `${OBJECTS}
    let sum = 0
    const own = Array.from({ length: 50 }, () => new vfio.EventFd())
    for (const each of own) poller.add(each, (count) => {
      sum += count
      if (sum === 50 * 100) { port.postMessage(sum); poller.close() }
    })
    for (let i = 0; i < 100; i++) {
      for (const each of own) each.signal()
      await new Promise((resolve) => setImmediate(resolve))
    }`
  const sums = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const worker = inWorker(code)
      const sum = await message(worker)
      await ended(worker)
      return sum
    }),
  )
  t.deepEqual(sums, Array(6).fill(5000))
  await sameAs(t, before)
})

test.serial(
  'an EventFd shared with a Worker: both sides signal one counter, and it outlives the Worker',
  async (t) => {
    const before = await settledCount()
    const ping = new EventFd()
    const pong = new EventFd()
    const worker = inWorker(
      `const ping = vfio.EventFd.claim(data.ping), pong = vfio.EventFd.claim(data.pong)
    let left = 200
    port.postMessage('ready')
    for await (const count of ping) { pong.signal(count); if (--left === 0) break }`,
      { ping: ping.share(), pong: pong.share() },
    )
    await message(worker)
    let sum = 0
    ping.signal(2)
    for await (const count of pong) {
      sum += count
      if (sum === 400) break
      ping.signal(2)
    }
    await ended(worker)
    ping.signal()
    t.is(ping.read(), 1)
    ping.close()
    pong.close()
    await sameAs(t, before)
  },
)

test.serial('an EventFd that a Worker watched can be watched here once the Worker has ended', async (t) => {
  const before = await settledCount()
  const eventfd = new EventFd()
  for (const watch of [
    'const poller = new vfio.SignalPoller(); poller.add(own, () => undefined)',
    'new vfio.SignalWaiter([own])',
    'void own[Symbol.asyncIterator]().next()',
  ]) {
    const worker = inWorker(
      `const own = vfio.EventFd.claim(data); ${watch}; port.postMessage(1); setInterval(() => undefined, 1000)`,
      eventfd.share(),
    )
    await message(worker)
    await worker.terminate()
    await ended(worker)
    const poller = new SignalPoller()
    t.notThrows(() => {
      poller.add(eventfd, () => undefined)
    }, watch)
    poller.close()
  }
  eventfd.close()
  await sameAs(t, before)
})

test.serial('GuestMemory shared with a Worker: both see the bytes, either may close first', async (t) => {
  const before = await settledCount()
  for (const first of ['here', 'there']) {
    const memory = GuestMemory.create(8192)
    const bytes = new Uint8Array(memory.buffer)
    bytes.set([1, 2, 3], 4000)
    const worker = inWorker(
      `const memory = vfio.GuestMemory.claim(data)
      const bytes = new Uint8Array(memory.buffer)
      port.on('message', (what) => {
        if (what === 'read') port.postMessage([...bytes.subarray(4000, 4003), bytes.length, memory.size])
        else { bytes[0] = 99; memory.close(); port.postMessage(bytes.length); port.close() }
      })
      port.postMessage('ready')`,
      memory.share(),
    )
    await message(worker)
    if (first === 'here') {
      bytes[4001] = 42
      memory.close()
      t.is(bytes.length, 0, 'detached')
    }
    worker.postMessage('read')
    t.deepEqual(await message(worker), [1, first === 'here' ? 42 : 2, 3, 8192, 8192])
    worker.postMessage('close')
    t.is(await message(worker), 0)
    await ended(worker)
    if (first === 'there') {
      t.is(bytes[0], 99)
      memory.close()
    }
  }
  await sameAs(t, before)
})

test.serial('a token whose object is gone, and one of another kind, in a Worker', async (t) => {
  const eventfd = new EventFd()
  using memory = GuestMemory.create(1)
  const stale = eventfd.share()
  eventfd.close()
  const worker = inWorker(
    `const seen = []
    for (const token of [data.stale, data.other, { ...data.other, vfio: 'EventFd' }]) {
      try { vfio.EventFd.claim(token) } catch (error) { seen.push([error.name, error.reason ?? null]) }
    }
    port.postMessage(seen)`,
    { stale, other: memory.share() },
  )
  t.deepEqual(await message(worker), [
    ['VfioError', 'stale-token'],
    ['TypeError', null],
    ['TypeError', null],
  ])
  await worker.terminate()
})

test.serial('a wrapper does not cross to a Worker by itself', (t) => {
  using eventfd = new EventFd()
  t.false(structuredClone(Object.assign({}, eventfd)) instanceof EventFd)
  t.throws(() => structuredClone(eventfd.native), { any: true, name: 'DataCloneError' })
})

test.serial('a region is polled in a Worker until this thread writes', async (t) => {
  using memory = GuestMemory.create(4096)
  const words = new Uint32Array(memory.buffer)
  const worker = inWorker(
    `const memory = vfio.GuestMemory.claim(data)
    const region = support.memoryRegion(memory)
    port.postMessage('ready')
    port.postMessage(region.poll32(16, { mask: 0xff, equals: 0x34, timeoutMicros: 20e6 }))`,
    memory.share(),
  )
  await message(worker)
  const answer = message(worker)
  await sleep(70)
  Atomics.store(words, 4, 0x1234)
  t.is(await answer, 0x1234)
  await worker.terminate()
})

test.serial('process.exit while Workers wait in every way', async (t) => {
  const { status, stderr } = await inChild(`
    const { setTimeout } = await import('node:timers/promises')
    const objects = ${JSON.stringify(OBJECTS)}
    const waits = [
      'setInterval(() => undefined, 1000)',
      'region.poll32(0, { equals: 1, timeoutMicros: 3_600_000_000 })',
      'for await (const count of new vfio.EventFd()) void count',
    ]
    const workers = waits.map((wait) => support.inWorker(objects + "port.postMessage('ready');" + wait))
    await Promise.all(workers.map((worker) => support.message(worker)))
    await setTimeout(50)
    process.exit(5)`)
  t.is(status, 5, stderr)
  t.is(stderr, '')
})

test.serial('the region’s guard belongs to the process: a Worker that ends leaves it in place', async (t) => {
  using memory = GuestMemory.create(8192)
  const region = memoryRegion(memory)
  const worker = inWorker(
    `const memory = vfio.GuestMemory.claim(data)
    const region = support.memoryRegion(memory)
    region.read32(0)
    port.postMessage('done')`,
    memory.share(),
  )
  await message(worker)
  await worker.terminate()
  t.is(region.read32(0), 0)
  region.closeWithDevice()
  t.throws(() => region.read32(0), { instanceOf: VfioError, code: 'EBADF' })
})
