// The work that the rows measure: the same for `vfio bench` and for `npm run bench`, which differ in what they put beside it.
import type { Region } from '../device/region.js'
import { EventFd } from '../event/eventfd.js'
import { SignalPoller } from '../event/poller.js'
import { SignalWaiter } from '../event/waiter.js'
import type { Measure } from './harness.js'
import type { BenchAddon } from './addon.js'

/** So many turns of the same. */
export type Loop = (turns: number) => void

/** Times in nanoseconds, in their order. */
export type Samples = () => Float64Array | Promise<Float64Array>

/**
 * Nanoseconds of `now` per turn. The processor's time, where it is that: what else the machine does is not counted. The loop
 * is the caller's own, so that each is compiled for what it calls.
 */
export function perTurn(now: () => number, turns: number, loop: Loop): Measure {
  return () => {
    const start = now()
    loop(turns)
    return (now() - start) / turns
  }
}

export interface RegisterLoops {
  readonly read32: Loop
  readonly write32: Loop
}

/** Any offset: nothing but memory is there. */
const REGISTER = 8
const NANOSECONDS_PER_SECOND = 1e9

export function registerLoops(region: Region): RegisterLoops {
  return {
    read32: (turns) => {
      for (let i = 0; i < turns; i++) region.read32(REGISTER)
    },
    write32: (turns) => {
      for (let i = 0; i < turns; i++) region.write32(REGISTER, i)
    },
  }
}

/** The same calls of a function that does nothing. */
export function emptyLoops({ empty }: Pick<BenchAddon, 'empty'>): RegisterLoops {
  return {
    read32: (turns) => {
      for (let i = 0; i < turns; i++) empty(REGISTER)
    },
    write32: (turns) => {
      for (let i = 0; i < turns; i++) empty(REGISTER, i)
    },
  }
}

export function signalLoop(eventfd: EventFd): Loop {
  return (turns) => {
    for (let i = 0; i < turns; i++) eventfd.signal()
  }
}

/** One of those that a waiter watches is signalled, the next each turn, and waited for. */
export function waitLoop(eventfds: readonly EventFd[], waiter: SignalWaiter): Loop {
  return (turns) => {
    let next = 0
    for (let turn = 0; turn < turns; turn++) {
      eventfds[next]?.signal()
      if (++next === eventfds.length) next = 0
      if (waiter.wait(0) !== 1) throw new Error('a wait did not bring the one event that was there')
    }
  }
}

export function perSecond(nanosecondsPerEvent: number): number {
  return NANOSECONDS_PER_SECOND / nanosecondsPerEvent
}

/** Signals all, lets the event loop turn until each has arrived, and gives the rate. `arm` says what each arrival calls. */
export function rate(
  eventfds: readonly EventFd[],
  rounds: number,
  arm: (arrived: () => void) => void,
): Measure {
  let left = 0
  let end = 0n
  let done: () => void
  arm(() => {
    if (--left > 0) return
    end = process.hrtime.bigint()
    done()
  })
  return async () => {
    let spent = 0n
    for (let round = 0; round < rounds; round++) {
      left = eventfds.length
      const all = new Promise<void>((resolve) => {
        done = resolve
      })
      for (const eventfd of eventfds) eventfd.signal()
      const start = process.hrtime.bigint()
      await all
      spent += end - start
    }
    return perSecond(Number(spent) / (rounds * eventfds.length))
  }
}

/** Where a ping-pong's far end runs, and how often it plays. */
export interface Game {
  readonly addon: BenchAddon
  readonly cpu: number
  readonly rounds: number
}

/** The near end of a ping-pong. */
export interface Answerer {
  /** Has answered all when it returns, or when its promise settles. */
  play(): Promise<void> | void
  close(): void
}

/** A native thread on another CPU signals `ping` and waits for the answer in `pong`. */
export function pingPong(
  { addon, cpu, rounds }: Game,
  answerer: (ping: EventFd, pong: EventFd) => Answerer,
  spins = false,
): Samples {
  return async () => {
    using ping = new EventFd()
    using pong = new EventFd()
    const near = answerer(ping, pong)
    const partner = addon.partnerStart(ping.fd, pong.fd, cpu, rounds, spins)
    await near.play()
    const samples = new Float64Array(addon.partnerFinish(partner))
    near.close()
    if (samples.length === rounds) return samples
    throw new Error(`the ping-pong's partner ended after ${String(samples.length)} rounds`)
  }
}

/** Counts down to a promise. */
export function countdown(rounds: number): { done: Promise<void>; count: () => void } {
  let left = rounds
  let resolve!: () => void
  const done = new Promise<void>((each) => {
    resolve = each
  })
  return {
    done,
    count: () => {
      if (--left === 0) resolve()
    },
  }
}

/** Answered by a handler of SignalPoller. */
export function answeredByPoller(game: Game): Samples {
  return pingPong(game, (ping, pong) => {
    const poller = new SignalPoller()
    const { done, count } = countdown(game.rounds)
    poller.add(ping, () => {
      pong.signal()
      count()
    })
    return { play: () => done, close: () => poller.close() }
  })
}

/** Answered by a thread that blocks in SignalWaiter, or spins there. */
export function answeredByWaiter(game: Game, spinMicros = 0): Samples {
  return pingPong(
    game,
    (ping, pong) => {
      const waiter = new SignalWaiter([ping], { spinMicros })
      return {
        play: () => {
          for (let i = 0; i < game.rounds; i++) {
            waiter.wait()
            pong.signal()
          }
        },
        close: () => waiter.close(),
      }
    },
    spinMicros > 0,
  )
}
