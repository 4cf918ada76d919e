// A Worker that hears with a SignalWaiter, and between waits stops listening to some bell for a while. Ends when it is
// woken, after a last look at every bell, and tells how often it heard each.
import { parentPort, workerData } from 'node:worker_threads'

import { EventFd, type ShareToken, SignalWaiter } from '../../ts/index.js'
import { Account } from './account.js'
import { numbers } from './bursts.js'

export interface ListenerData {
  tokens: readonly ShareToken[]
  seed: number
  spinMicros: number
}

export interface Heard {
  heard: number[]
  /** How often a bell was taken from the waiter. */
  removed: number
}

const { tokens, seed, spinMicros } = workerData as ListenerData
const number = numbers(seed)
const eventfds = tokens.map((token) => EventFd.claim(token))
const account = new Account(eventfds.length)
const waiter = new SignalWaiter([], { spinMicros })
// By the waiter's index: a bell that comes back may get another.
const bellAt: number[] = []
const listen = (bell: number): void => {
  bellAt[waiter.add(eventfds[bell]!)] = bell
}
for (const bell of eventfds.keys()) listen(bell)

const take = (entries: number): void => {
  for (let i = 0; i < entries; i++) account.hear(bellAt[waiter.ready[i]!]!, waiter.counts[i]!)
}

parentPort?.postMessage(waiter.share())
let removed = 0
let away: number | undefined
for (;;) {
  take(waiter.wait())
  if (waiter.woken) break
  if (away !== undefined) {
    listen(away)
    away = undefined
  } else if (number(8) === 0) {
    away = number(eventfds.length)
    waiter.remove(eventfds[away]!)
    removed++
  }
}
if (away !== undefined) listen(away)
for (let entries = waiter.wait(0); entries > 0; entries = waiter.wait(0)) take(entries)
waiter.close()
for (const eventfd of eventfds) eventfd.close()
const result: Heard = { heard: account.heard, removed }
parentPort?.postMessage(result)
