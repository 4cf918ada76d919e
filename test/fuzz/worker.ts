// The fuzzer in a Worker: claims what it is given, uses it and closes it, or hangs in a call, until it ends or is ended.
import { setImmediate as turn } from 'node:timers/promises'
import { inspect } from 'node:util'
import { parentPort, workerData } from 'node:worker_threads'

import type { EventFd, Region, SignalPoller, SignalWaiter } from '../../ts/index.js'
import type { Vcpu } from '../../ts/kvm/index.js'
import { Caller, isOwn } from './caller.js'
import { Finding, Judge, isAllowed } from './judge.js'
import { CLASSES } from './kinds.js'
import { Log } from './log.js'
import { makeSignals } from './makers/signals.js'
import { drawMember, membersHere } from './members.js'
import { LOG } from './options.js'
import { Population } from './population.js'
import { Random } from './random.js'
import type { WorkerData, WorkerMessage } from './worker-data.js'

const { seed, mode, calls, tokens } = workerData as WorkerData
const random = new Random(seed)
const population = new Population(random)
const judge = new Judge()
const log = new Log(LOG === undefined ? undefined : `${LOG}.worker`)

function say(message: WorkerMessage): void {
  parentPort?.postMessage(message)
}

function fail(error: unknown): void {
  const text = error instanceof Finding ? error.message : inspect(error)
  say({ kind: 'finding', text, last: log.recent })
}

process.on('warning', () => undefined)
process.on('uncaughtException', (error) => {
  if (!isOwn(error)) fail(error)
})

async function claimAll(): Promise<void> {
  for (const { kind, token } of tokens) {
    try {
      const holder = CLASSES.get(kind) as unknown as { claim: (token: unknown) => unknown }
      await population.admit(holder.claim(token), null)
    } catch (error) {
      // Whoever shared it has closed it meanwhile.
      if (!isAllowed(error)) throw error
    }
  }
}

const HOUR_MICROS = 3_600_000_000

/** Calls that block, and loops that never end. */
const BLOCKING: readonly [string, (object: never) => unknown][] = [
  ['Region', (region: Region) => region.poll32(0, { equals: 0x1234_5678, timeoutMicros: HOUR_MICROS })],
  ['SignalWaiter', (waiter: SignalWaiter) => waiter.wait()],
  [
    'Vcpu',
    (vcpu: Vcpu) => {
      while (!vcpu.closed) vcpu.run()
    },
  ],
  [
    'EventFd',
    async (eventfd: EventFd) => {
      for await (const count of eventfd) log.note(`${count} signals`)
    },
  ],
  [
    'SignalPoller',
    (poller: SignalPoller) => {
      const [eventfd] = population.of('EventFd')
      poller.ref().add(eventfd?.value as EventFd, () => undefined)
    },
  ],
]

async function block(): Promise<void> {
  const ways = BLOCKING.filter(([kind]) => population.count(kind) > 0)
  const [kind, way] = random.of(ways)
  log.note(`a Worker blocks in ${kind}`)
  const object = population.value(kind, random) as never
  try {
    await way(object)
  } catch (error) {
    if (!isAllowed(error)) throw error
  }
}

async function callAround(): Promise<void> {
  const members = membersHere(population, random)
  const here = members.filter(({ onInstance, owner }) => !onInstance || population.count(owner ?? '') > 0)
  const caller = new Caller({ random, population, members: here, judge, log })
  for (let i = 0; i < calls; i++) {
    await caller.call(drawMember(here, random))
    if (i % 16 !== 0) continue
    population.prune()
    await makeSignals(population, (kind) => population.count(kind) === 0)
    await turn()
  }
  await caller.settled()
  say({ kind: 'done', covered: [...caller.covered], succeeded: [...judge.succeeded] })
}

async function main(): Promise<void> {
  await claimAll()
  await makeSignals(population, (kind) => population.count(kind) === 0)
  for (const { value, device } of Array.from(population.of('VfioDevice'))) {
    const held = value as { closed: boolean; region: (name: string) => unknown }
    if (!held.closed) await population.admit(held.region('bar0'), device)
  }
  await (mode === 'block' ? block() : callAround())
  // Half of them end with everything open.
  if (random.chance(0.5)) await population.closeAll()
  log.close()
}

main().catch((error: unknown) => {
  if (!isAllowed(error)) fail(error)
})
