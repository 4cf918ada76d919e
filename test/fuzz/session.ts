// The fuzzing itself: draws a member of the surface, something to call it on, and arguments; makes the call; judges what
// comes out. At the end everything is closed, and the process must hold no more than at its start.
import { setImmediate as turn } from 'node:timers/promises'
import { inspect } from 'node:util'

import type { AddressSpace } from '../../ts/index.js'
import { Caller, isOwn } from './caller.js'
import { coverage } from './coverage.js'
import { calm, count, settle } from './holdings.js'
import { Finding, Judge } from './judge.js'
import { Log } from './log.js'
import { Makers, WITHOUT_INSTANCE } from './makers/all.js'
import { fellTree } from './makers/tree.js'
import { describeMembers, drawMember, membersHere } from './members.js'
import { CALLS, LIST, LOG, SEED } from './options.js'
import { Population } from './population.js'
import { Random } from './random.js'
import type { Member } from './surface.js'
import { Workers } from './workers.js'

const REFILL_EVERY = 32
const UNMAP_EVERY = 512
const TELL_EVERY_MS = 30_000
const MOST_MAPPINGS = 50

const random = new Random(SEED)
const population = new Population(random)
const makers = new Makers(population, random)
const judge = new Judge()
const log = new Log(LOG)
const workers = new Workers(random, population, judge)
const spent = new Map<string, number>()
let told = 0

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const from = performance.now()
  try {
    return await work()
  } finally {
    spent.set(what, (spent.get(what) ?? 0) + performance.now() - from)
  }
}

function unmapMany(): void {
  for (const { value } of population.of('AddressSpace')) {
    const space = value as AddressSpace
    if (!space.closed && space.mappingCount > MOST_MAPPINGS) space.unmapAll()
  }
}

/** Between calls: what is missing is made, handlers come to their end, the event loop turns. */
async function tend(made: number, caller: Caller): Promise<void> {
  if (made % REFILL_EVERY === 0) {
    await timed('(handlers)', () => caller.settled())
    await timed('(making objects)', () => makers.refill())
    await turn()
  }
  if (made % UNMAP_EVERY === 0) unmapMany()
  if (performance.now() - told < TELL_EVERY_MS) return
  told = performance.now()
  console.log(`${made} calls, ${Math.round(told / 1000)} s`)
}

async function callAll(members: readonly Member[], caller: Caller): Promise<void> {
  // Each once, so that short runs get everywhere; then as chance has it.
  const sweep = [...members]
  for (let made = 0; made < CALLS;) {
    const member = sweep.shift() ?? drawMember(members, random)
    if (!(await timed(member.name, () => caller.call(member)))) continue
    made++
    await timed('(Workers)', () => workers.tick())
    await tend(made, caller)
  }
}

function tell(): void {
  const dearest = [...spent].sort(([, a], [, b]) => b - a).slice(0, 14)
  console.log(`most time: ${dearest.map(([what, ms]) => `${what} ${(ms / 1000).toFixed(1)} s`).join(', ')}`)
  const { returned, refused, vfio, changes } = judge.outcomes
  const inside = log.lines - CALLS
  console.log(
    `${returned} returned, ${refused} refused arguments, ${vfio} VfioErrors, ${changes} ChangeErrors; ${inside} calls in handlers, ${workers.started} Workers, ${workers.terminated} of them ended in the middle`,
  )
  for (const [what, times] of [...judge.untidy].sort(([, a], [, b]) => b - a).slice(0, 40))
    console.log(`  untidy, ${times} times: ${what}`)
}

async function main(): Promise<void> {
  await makers.refill()
  const members = membersHere(population, random)
  const reachable = members.filter(
    ({ owner, onInstance }) => !onInstance || WITHOUT_INSTANCE[owner ?? ''] === undefined,
  )
  console.log(`seed ${SEED}, ${CALLS} calls, ${describeMembers(members)}`)
  if (LIST) for (const { name } of members) console.log(`  ${name}`)

  // A round of opening and closing first: what is made once in a process belongs to the start.
  await population.closeAll()
  await calm()
  const before = count()
  await makers.refill()

  const caller = new Caller({ random, population, members: reachable, judge, log })
  await callAll(reachable, caller)
  await caller.settled()
  await workers.close()
  await population.closeAll()
  fellTree()
  const left = await settle(before)
  tell()
  const called = new Set([...caller.covered.keys(), ...workers.covered.keys()])
  coverage(members, called, judge.succeeded)
  if (left.length > 0) throw new Finding(`left behind: ${left.join(', ')}`)
  console.log(`ok: nothing left behind; the calls were ${log.digest()}`)
}

process.on('warning', () => undefined)
process.on('uncaughtException', (error) => {
  if (!isOwn(error)) fail(new Finding(`uncaught: ${inspect(error)}`))
})

function fail(error: unknown): never {
  console.log(
    `FAILED with seed ${SEED} after ${log.lines} calls: ${error instanceof Finding ? error.message : inspect(error)}`,
  )
  console.log('The last calls:')
  for (const each of log.recent) console.log(`  ${each}`)
  fellTree()
  process.exit(1)
}

main().then(() => process.exit(0), fail)
