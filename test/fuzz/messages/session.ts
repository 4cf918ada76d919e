// Messages, fuzzed: a client of this package here, a server of it in one Worker, and between them another Worker that makes of their
// messages others. The client is called as in the other sessions; each call must come back in time, and both ends must hold no
// more at the end than at the start.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'

import { VfioDevice } from '../../../ts/index.js'
import { Caller, isOwn } from '../caller.js'
import { calm, count, settle } from '../holdings.js'
import { Finding, Judge, isAllowed } from '../judge.js'
import { Log } from '../log.js'
import { makeSignals } from '../makers/signals.js'
import { drawMember, membersHere } from '../members.js'
import { CALLS, LOG, SEED } from '../options.js'
import { Population } from '../population.js'
import { Random } from '../random.js'
import type { MiddleFigures, MiddleMessage, ServingMessage } from './shared.js'

/** A server that does not answer is given up after so long, at every call. */
const TIMEOUT_MS = 300
/** No call takes longer, on a busy machine under the sanitizers. */
const HANG_MS = 5000
const CALLS_PER_CLIENT = 60
/** Accesses of each client that are right. */
const ORDINARY = 8
const MOST_GROWTH = 128 << 20

/** What a device behind a socket has. */
const KINDS = new Set([
  ...['VfioDevice', 'Region', 'InterruptIndex', 'InterruptListener', 'PciConfig', 'PciCommand'],
  ...['DeviceFeatures', 'DmaLogging', 'LowPower', 'AddressSpace', 'DirtyTracking', 'DmaBuffer'],
  ...['DeviceMigration', 'MigrationStream'],
])

const random = new Random(SEED)
const population = new Population(random)
const judge = new Judge()
const log = new Log(LOG)
const folder = join(tmpdir(), `node-vfio-messages-${process.pid}`)
let finding: Finding | undefined
/** Why nobody was connected the last time. */
let refusal = ''

type Told = MiddleMessage | ServingMessage

/** A Worker that says when it is ready, and at its end what it has done. */
class Helper<Figures> {
  readonly #worker: Worker
  readonly #ended: Promise<unknown>
  #figures: Figures | undefined

  constructor(file: string, workerData: object) {
    this.#worker = new Worker(new URL(`./${file}.js`, import.meta.url), {
      workerData,
      argv: [],
      trackUnmanagedFds: false,
    })
    this.#ended = new Promise((resolve) => this.#worker.once('exit', resolve))
    this.#worker.on('error', (error) => {
      finding ??= new Finding(`${file} ended with ${error.stack ?? error.message}`)
    })
    this.#worker.on('message', (told: Told) => {
      if (told.kind === 'finding') finding ??= new Finding(`the server reported ${told.text}`)
      if (told.kind === 'figures') this.#figures = told as Figures
    })
  }

  async ready(): Promise<this> {
    await new Promise((resolve) => this.#worker.once('message', resolve))
    return this
  }

  async end(): Promise<Figures> {
    this.#worker.postMessage('end')
    const hung = setTimeout(() => {
      console.log('FAILED: a helper does not end')
      process.abort()
    }, 30_000)
    await this.#ended
    clearTimeout(hung)
    if (this.#figures === undefined) throw finding ?? new Finding('a helper ended without its figures')
    return this.#figures
  }
}

/** Connects, by way of the other; undefined where that did not come about. */
async function connect(path: string): Promise<VfioDevice | undefined> {
  try {
    return await VfioDevice.connect(path, { timeoutMs: TIMEOUT_MS, postedWrites: random.chance(0.5) })
  } catch (error) {
    if (!isAllowed(error)) throw error
    refusal = inspect(error)
    return undefined
  }
}

const INDICES = ['intx', 'msi', 'msix', 'err', 'req'] as const

/** Its parts, and memory for it; what the server makes of that is none of this one's business. */
async function furnish(device: VfioDevice): Promise<void> {
  const makers: (() => unknown)[] = [
    () => device.config,
    () => {
      device.config.command.busMaster = true
      return device.config.command
    },
    () => device.features,
    () => device.features.dmaLogging,
    () => device.migration,
    () => device.addressSpace,
    () => device.addressSpace.dirtyTracking,
    () => device.addressSpace.allocate(8192),
    ...INDICES.map((name) => () => device.irq(name)),
    () => device.regions(),
  ]
  for (const make of makers) {
    try {
      const made = await make()
      for (const each of Array.isArray(made) ? (made as unknown[]) : [made])
        await population.admit(each, 'served')
    } catch (error) {
      if (!isAllowed(error)) throw error
    }
  }
}

/** What a driver does, so that there are messages of all kinds to make others of. */
async function drive(device: VfioDevice): Promise<void> {
  const bar0 = device.region('bar0')
  for (let i = 0; i < ORDINARY && device.present; i++) {
    const offset = 4 * random.below(1024)
    if (random.chance(0.5)) bar0.write32(offset, random.below(0x400))
    else bar0.read32(offset)
    if (i === 4) device.irq('msix').enable(4)
    if (i === 6) await device.reset()
    if (i % 8 === 0) await sleep(0)
  }
}

/** Calls on one device; how many. */
async function useOne(device: VfioDevice): Promise<number> {
  device.onRequest = () => undefined
  await population.admit(device, 'served')
  await furnish(device)
  await makeSignals(population, (kind) => population.count(kind) === 0)
  // A token that nobody claims keeps the connection, and a server has one client at a time.
  const members = membersHere(population, random).filter(({ owner, onInstance, key }) => {
    return onInstance && key !== 'share' && KINDS.has(owner ?? '') && population.count(owner ?? '') > 0
  })
  const caller = new Caller({ random, population, members, judge, log })
  let made = 0
  try {
    await timed('ordinary use', () => drive(device))
  } catch (error) {
    if (!isAllowed(error)) throw error
  }
  for (; made < CALLS_PER_CLIENT && !device.closed && device.present; made++) {
    const member = drawMember(members, random)
    await timed(member.name, () => caller.call(member))
    if (made % 8 === 0) await sleep(0)
    population.prune()
  }
  await timed('what handlers began', () => caller.settled())
  return made
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const from = performance.now()
  try {
    return await work()
  } finally {
    const took = performance.now() - from
    if (took > HANG_MS) finding ??= new Finding(`${what} took ${Math.round(took)} ms`)
  }
}

interface Counted {
  readonly calls: number
  readonly clients: number
}

/** Clients until so many calls are made. */
async function useMany(path: string, calls: number): Promise<Counted> {
  const counted = { calls: 0, clients: 0 }
  for (let failures = 0; counted.calls < calls;) {
    if (finding !== undefined) throw finding
    const device = await timed('VfioDevice.connect', () => connect(path))
    if (device === undefined) {
      if (++failures > 200) throw new Finding(`the server takes nobody any more: ${refusal}`)
      await sleep(5)
      continue
    }
    failures = 0
    counted.clients++
    let made = 1
    try {
      made = Math.max(made, await useOne(device))
    } catch (error) {
      // The connection can be lost between two calls too.
      if (!isAllowed(error)) throw error
    }
    counted.calls += made
    await timed('closing everything', () => population.closeAll())
  }
  return counted
}

interface ServingFigures {
  readonly clients: number
  readonly messages: number
  readonly refused: number
}

/** Both helpers, and clients between; what came of it. */
async function run(name: string, mode: 'loop' | 'thread', calls: number): Promise<void> {
  const [path, listen] = [`${folder}-${name}`, `${folder}-${name}-middle`]
  const serving = await new Helper<ServingFigures>('serving', { path, mode }).ready()
  const data = { seed: random.next(), listen, server: path }
  const middle = await new Helper<{ figures: MiddleFigures }>('middle', data).ready()
  try {
    const { clients } = await useMany(listen, calls)
    const direct = await connect(path)
    if (direct?.config.vendorId !== 0x1234)
      throw new Finding('the server does not serve a client that does nothing wrong')
    await direct.close()
    const { figures } = await middle.end()
    const { messages } = await serving.end()
    if (finding !== undefined) throw finding
    console.log(
      `served in a ${mode}: ${clients} clients, ${messages} messages to the server, of which ${figures.toServer} were made up ` +
        `(${figures.answered} answered, ${figures.refused} of them refused), ${figures.toClient} altered to the client, ` +
        `${figures.descriptors} descriptors; ${figures.serverHungUp} times the server hung up first, ${figures.clientHungUp} the client`,
    )
    check(figures)
  } catch (error) {
    await Promise.allSettled([middle.end(), serving.end()])
    throw error
  }
}

/** A fuzzer that reaches nothing finds nothing. */
function check({ toServer, toClient, answered, refused, rounds }: MiddleFigures): void {
  if (rounds < 10) return
  if (toServer === 0 || toClient === 0) throw new Finding('one of the ends got nothing that was altered')
  if (answered < toServer / 20 || refused === answered)
    throw new Finding('the server answered next to nothing, so that what was made up is no good')
}

async function main(): Promise<void> {
  console.log(`messages: seed ${SEED}, ${CALLS} calls`)
  // A round first: what is made once in a process belongs to the start.
  await run('warm', 'loop', 20)
  await calm()
  const before = count()
  const memory = process.memoryUsage.rss()
  await run('loop', 'loop', CALLS >> 1)
  await run('thread', 'thread', CALLS >> 1)
  const left = await settle(before)
  if (left.length > 0) throw new Finding(`left behind: ${left.join(', ')}`)
  const grown = process.memoryUsage.rss() - memory
  // What was freed stays for a while under AddressSanitizer.
  if (process.env.ASAN_OPTIONS === undefined && grown > MOST_GROWTH)
    throw new Finding(`${grown >> 20} MiB more than at the start`)
  const { returned, refused, vfio } = judge.outcomes
  console.log(
    `${returned} returned, ${refused} refused arguments, ${vfio} VfioErrors; ${grown >> 20} MiB more`,
  )
  for (const [what, times] of judge.untidy) console.log(`  untidy, ${times} times: ${what}`)
  console.log('ok: nothing left behind')
}

process.on('warning', () => undefined)
process.on('uncaughtException', (error) => {
  if (!isOwn(error)) fail(new Finding(`uncaught: ${inspect(error)}`))
})

function fail(error: unknown): never {
  console.log(`FAILED with seed ${SEED}: ${error instanceof Finding ? error.message : inspect(error)}`)
  console.log('The last calls:')
  for (const each of log.recent) console.log(`  ${each}`)
  process.exit(1)
}

main().then(() => process.exit(0), fail)
