// Makes one call: something to call it on, arguments, the call, what became of it. While it lasts, getters, proxies and handlers
// make calls of their own.
import { closeSync, fstatSync, readlinkSync } from 'node:fs'

import { argumentsFor } from './arguments.js'
import { Effects, Thrown } from './effects.js'
import { RARE } from './frequency.js'
import { Finding, type Judge, isAllowed } from './judge.js'
import { CLASSES, EXPORTS } from './kinds.js'
import { limit } from './limits.js'
import { type Log, brief, briefArguments } from './log.js'
import { ADDRESSES, WITH_EFFECTS } from './options.js'
import { type Population, isClosed } from './population.js'
import type { Random } from './random.js'
import type { Member } from './surface.js'
import type { Target } from './target.js'
import { Values } from './values.js'

/** Longer than anything may take, on the slowest machine. */
const PATIENCE = 120_000
/** Calls in handlers that nobody waits for. */
const MOST_PENDING = 64
/** Closing what is being used is what handlers are for. */
const CLOSING = ['close', 'return', 'disable', 'unmapAll'] as const

interface Call {
  member: Member
  target: Target | null
  args: unknown[]
  adopted: number[]
}

export class Caller {
  readonly covered = new Map<string, number>()
  readonly #random: Random
  readonly #population: Population
  readonly #members: readonly Member[]
  readonly #judge: Judge
  readonly #log: Log
  readonly #values: Values
  readonly #pending = new Set<Promise<void>>()
  readonly #under: Call[] = []
  #finding: Error | undefined

  constructor(parts: {
    random: Random
    population: Population
    /** What handlers call. */
    members: readonly Member[]
    judge: Judge
    log: Log
  }) {
    this.#random = parts.random
    this.#population = parts.population
    this.#members = parts.members
    this.#judge = parts.judge
    this.#log = parts.log
    const effects = WITH_EFFECTS ? new Effects(parts.random.fork(), (own) => this.#act(own)) : null
    this.#values = new Values(parts.random, () => parts.population.any(parts.random), effects)
  }

  /** Calls a member; false when there was nothing to call it on. */
  async call(member: Member): Promise<boolean> {
    const call = this.#prepare(member, this.#random)
    if (call === null) return false
    this.#note('', call)
    this.#under.push(call)
    let result: unknown
    try {
      result = invoke(call)
      if (result instanceof Promise) {
        const promise = result as Promise<unknown>
        // What the promise becomes is none of this call's business.
        if (mayNeverEnd(member)) promise.catch(() => undefined)
        else result = await patiently(promise, member)
      }
      this.#judge.returned(member)
    } catch (error) {
      this.#judge.threw(member, error)
      for (const fd of call.adopted) closeQuietly(fd)
      return true
    } finally {
      this.#under.pop()
    }
    for (const fd of call.adopted) closeTaken(fd)
    for (const each of Array.isArray(result) ? (result as unknown[]) : [result])
      await this.#population.admit(each, call.target?.device ?? null)
    return true
  }

  /** Waits for what handlers began, and tells what they found. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
    if (this.#finding !== undefined) throw this.#finding
  }

  /** One call within another, whose outcome the other does not see. */
  #act(random: Random): void {
    const outer = this.#under.at(-1)
    if (outer !== undefined && random.chance(0.4)) {
      this.#closeUnder(outer, random)
      return
    }
    if (this.#pending.size >= MOST_PENDING) return
    const call = this.#prepare(random.of(this.#members), random)
    if (call === null) return
    this.#note('  in it: ', call)
    this.#under.push(call)
    try {
      this.#later(call.member, invoke(call), call.target?.device ?? null)
    } catch (error) {
      this.#outcome(call.member, error)
    } finally {
      this.#under.pop()
      for (const fd of call.adopted) closeTaken(fd)
    }
  }

  /** Takes away what the outer call works with: its object, an argument, the memory of one. */
  #closeUnder(outer: Call, random: Random): void {
    const objects = [outer.target?.value, outer.target?.value, ...outer.args].filter(
      (each): each is object => typeof each === 'object' && each !== null,
    )
    if (objects.length === 0) return
    const object = random.of(objects)
    const name = `VfioDevice.prototype.close`
    try {
      if (ArrayBuffer.isView(object)) {
        takeAway(object, random)
        return
      }
      if (outer.target?.kind === 'VfioDevice' && !random.chance(RARE[name] ?? 1)) return
      const closable = object as Partial<Record<(typeof CLOSING)[number], () => unknown>>
      const way = CLOSING.find((each) => typeof closable[each] === 'function')
      if (way === undefined) return
      this.#log.note(`  in it: ${way} of ${brief(object)}`)
      const member: Member = {
        name: `${way} in a handler`,
        owner: null,
        onInstance: true,
        action: 'call',
        key: way,
      }
      this.#later(member, closable[way]?.(), null)
    } catch (error) {
      this.#outcome(
        { name: 'close in a handler', owner: null, onInstance: true, action: 'call', key: 'close' },
        error,
      )
    }
  }

  /** What a call gave inside another one: nobody can wait for it there. */
  #later(member: Member, result: unknown, device: string | null): void {
    const work = async (): Promise<void> => {
      try {
        let found = result
        if (result instanceof Promise) {
          if (mayNeverEnd(member)) {
            result.catch(() => undefined)
            return
          }
          found = await patiently(result as Promise<unknown>, member)
        }
        this.#judge.returned(member)
        for (const each of Array.isArray(found) ? (found as unknown[]) : [found])
          await this.#population.admit(each, device)
      } catch (error) {
        this.#outcome(member, error)
      }
    }
    const promise = work()
    this.#pending.add(promise)
    void promise.finally(() => this.#pending.delete(promise))
  }

  #outcome(member: Member, error: unknown): void {
    try {
      this.#judge.threw(member, error)
    } catch (finding) {
      this.#finding ??= finding as Error
    }
  }

  #prepare(member: Member, random: Random): Call | null {
    const rare = RARE[member.name]
    const gentle = rare !== undefined && !random.chance(rare)
    const target = member.onInstance
      ? this.#population.pick(member.owner ?? '', !gentle && random.chance(0.85), random)
      : null
    if (member.onInstance && target === null) return null
    if (gentle && target !== null && !isClosed(target.value)) return null
    const args = this.#arguments(member, target, random)
    if (gentle && target === null && Object.values(ADDRESSES).includes(args[0] as string)) args[0] = ''
    const adopted: number[] = []
    try {
      limit(member, target, args, random, adopted)
    } catch (error) {
      // A getter of the fuzzer's that throws, looked at before the call.
      if (!isAllowed(error)) throw error
      return null
    }
    return { member, target, args, adopted }
  }

  #arguments(member: Member, target: Target | null, random: Random): unknown[] {
    return argumentsFor({ member, target, random, values: this.#values, population: this.#population })
  }

  #note(indent: string, { member, target, args }: Call): void {
    const on = target === null ? 'the class' : `${target.device ?? ''} ${target.kind}`
    this.#log.note(`${indent}${member.name} on ${on} (${briefArguments(args)})`)
    this.covered.set(member.name, (this.covered.get(member.name) ?? 0) + 1)
  }
}

/** An error that a handler threw on purpose, wherever it comes out. */
export function isOwn(error: unknown): boolean {
  return error instanceof Thrown
}

function invoke({ member, target, args }: Call): unknown {
  const { key, action, owner } = member
  if (action === 'new') return Reflect.construct(EXPORTS[owner ?? ''] as new () => object, args)
  if (target !== null && action === 'get') return Reflect.get(target.value, key)
  if (target !== null && action === 'set') {
    Reflect.set(target.value, key, args[0])
    return undefined
  }
  const callee = target?.value ?? (owner === null ? undefined : CLASSES.get(owner))
  const function_ = (callee === undefined ? EXPORTS[String(key)] : Reflect.get(callee, key)) as () => unknown
  return Reflect.apply(function_, callee, args)
}

/** The next event of an iterator may never come, nor the end of a server. */
function mayNeverEnd({ owner, key }: Member): boolean {
  return owner === 'EventIterator' || (owner === 'UserDeviceServer' && key === 'run')
}

async function patiently<T>(promise: Promise<T>, member: Member): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Finding(`${member.name} has not ended after ${PATIENCE} ms`)),
      PATIENCE,
    )
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Of an ArrayBuffer, since ES2024. */
interface Resizable {
  resizable: boolean
  resize(length: number): void
}

/** Shrinks, or gives away, the buffer under a view. */
function takeAway(view: ArrayBufferView, random: Random): void {
  const buffer = view.buffer as ArrayBuffer & Partial<Resizable>
  if (!(buffer instanceof ArrayBuffer)) return
  if (buffer.resizable === true) buffer.resize?.(random.below(2) * (buffer.byteLength >> 1))
  else structuredClone(buffer, { transfer: [buffer] })
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // A handler closed what had taken it.
  }
}

/** What a call that returned has taken over is closed with its object; what it ignored is ours. */
function closeTaken(fd: number): void {
  try {
    fstatSync(fd)
    if (readlinkSync(`/proc/self/fd/${fd}`) === '/dev/null') closeSync(fd)
  } catch {
    // Closed already.
  }
}
