// Workers that are ended in every call that blocks, on objects that another thread holds too: those go on, and nothing stays.
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'

import { EventFd, GuestMemory, SignalPoller, SignalWaiter } from '../../../ts/index.js'
import { type Held, held, inWorker, message, until } from '../support.js'

const ROUNDS = 6
/** Milliseconds. On a busy machine it takes long to come to the thread at all. */
const AT_MOST = 5000

const HOUR = { micros: 3_600_000_000, milliseconds: 3_600_000 }

/** What a Worker does with `eventfd`, shared from here, and with `region`, over memory shared from here. */
const CALLS = {
  'poll32 of a register': `region.poll32(0, { equals: 1, timeoutMicros: ${String(HOUR.micros)} })`,
  'poll64 of a register': `region.poll64(0, { equals: 1n, timeoutMicros: ${String(HOUR.micros)} })`,
  'wait without an end': 'new vfio.SignalWaiter([eventfd]).wait()',
  'wait for an hour': `new vfio.SignalWaiter([eventfd]).wait(${String(HOUR.milliseconds)})`,
  'wait that spins': 'new vfio.SignalWaiter([eventfd], { spinMicros: 10_000 }).wait()',
  'a loop over an eventfd': 'for await (const count of eventfd) void count',
  'a poller': 'new vfio.SignalPoller().add(eventfd, () => undefined)',
  'nothing but closing': 'for (;;) { const each = new vfio.EventFd(); each.close() }',
} as const

async function sameAs(t: ExecutionContext, before: Held): Promise<void> {
  await until(() => JSON.stringify(held()) === JSON.stringify(before))
  t.deepEqual(held(), before)
}

/** What there is once the threads of Workers exist, and the guard's page. */
async function baseline(): Promise<Held> {
  const worker = inWorker(`${OPEN} region.read32(0); port.postMessage(1)`, shared().data)
  await message(worker)
  await worker.terminate()
  await sleep(50)
  return held()
}

const OPEN = `const eventfd = vfio.EventFd.claim(data.eventfd)
  const memory = vfio.GuestMemory.claim(data.memory)
  const region = support.memoryRegion(memory)
  `

interface Shared {
  data: { eventfd: unknown; memory: unknown }
  eventfd: EventFd
  memory: GuestMemory
}

let both: Shared | undefined

function shared(): Shared {
  if (both !== undefined) return both
  const eventfd = new EventFd()
  const memory = GuestMemory.create(4096)
  // Mapped here once, at the first look.
  new Uint8Array(memory.buffer).fill(0)
  return (both = { eventfd, memory, data: { eventfd: eventfd.share(), memory: memory.share() } })
}

for (const [what, code] of Object.entries(CALLS)) {
  test.serial(`a Worker ended in ${what} leaves nothing, and what it shared goes on`, async (t) => {
    const before = await baseline()
    const { data, eventfd, memory } = shared()
    for (let round = 0; round < ROUNDS; round++) {
      const worker = inWorker(`${OPEN} port.postMessage('ready'); ${code}`, data)
      await message(worker)
      await sleep(round)
      const started = performance.now()
      await worker.terminate()
      const took = performance.now() - started
      t.true(took < AT_MOST, `terminate() took ${String(took)} ms`)
      // Nobody has the eventfd any more, in whichever way it was waited for.
      const waiter = new SignalWaiter([eventfd])
      eventfd.signal()
      t.is(waiter.wait(1000), 1)
      waiter.close()
      const poller = new SignalPoller()
      poller.add(eventfd, () => undefined)
      poller.close()
      t.is(new Uint8Array(memory.buffer)[0], 0)
    }
    await sameAs(t, before)
  })
}

test.serial.after(() => {
  both?.eventfd.close()
  both?.memory.close()
})
