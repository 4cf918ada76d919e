// The stress on signalling: a guest rings its doorbell millions of times, in bursts of random length with random pauses,
// while doorbell and interrupt are unwired and wired again. Everything that was rung must be counted, by whichever way it
// came, and no interrupt may be lost.
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

import { BenchGuest } from '../../bench/guest/guest.js'
import { EventFd, SignalPoller } from '../../ts/index.js'
import { Random } from '../fuzz/random.js'

export interface StressOptions {
  /** Doorbells to ring, at least. */
  doorbells: number
  seed: number
  /** Told now and then how far it is. */
  progress?: (rung: number) => void
}

export interface StressResult {
  /** Doorbells that the guest counted. */
  rung: number
  /** Those that came through the eventfd, and those that came as exits while it was not wired. */
  heard: number
  exits: number
  signals: number
  interrupts: number
  wirings: number
  /** Descriptors and bytes of memory, when it had run in and at the end. */
  descriptors: [number, number]
  memory: [number, number]
}

/** The most that a burst rings: some milliseconds of the guest's time. */
const MOST_PER_BURST = 32_768
const RUN_IN = 0.2
const TIMEOUT_MS = 30_000
const U32 = 2 ** 32
const SETTLED_TURNS = 5
/** How long nothing may have happened at the end: on a busy machine the guest's thread may wait that long for a core. */
const QUIET_MS = 250

const descriptors = (): number => readdirSync('/proc/self/fd').length

function memory(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}

/** Both ends of the guest's signalling, each wired or not. */
class Wiring {
  readonly #guest: BenchGuest
  readonly #poller: SignalPoller
  readonly interrupt = new EventFd()
  #irqfd: { close(): unknown } | undefined
  #doorbell: { wired: EventFd; heard: EventFd } | undefined
  heard = 0
  changes = 0

  constructor(guest: BenchGuest, poller: SignalPoller) {
    this.#guest = guest
    this.#poller = poller
  }

  toggleDoorbell(): void {
    this.changes++
    if (this.#doorbell === undefined) this.#wireDoorbell()
    else this.#unwireDoorbell(this.#doorbell)
  }

  toggleInterrupt(): void {
    this.changes++
    if (this.#irqfd === undefined) {
      this.#irqfd = this.#guest.interruptBy(this.interrupt)
    } else {
      this.#irqfd.close()
      this.#irqfd = undefined
    }
  }

  wireAll(): void {
    if (this.#doorbell === undefined) this.toggleDoorbell()
    if (this.#irqfd === undefined) this.toggleInterrupt()
  }

  /** A second handle hears it, because closing the first one is what takes the doorbell from KVM. */
  #wireDoorbell(): void {
    const wired = this.#guest.doorbell()
    const heard = EventFd.claim(wired.share())
    this.#poller.add(heard, (count) => (this.heard += count))
    this.#doorbell = { wired, heard }
  }

  /** What was rung before is in the eventfd, and read when no more can come. */
  #unwireDoorbell({ wired, heard }: { wired: EventFd; heard: EventFd }): void {
    wired.close()
    this.#poller.remove(heard)
    this.heard += heard.read()
    heard.close()
    this.#doorbell = undefined
  }

  close(): void {
    if (this.#doorbell !== undefined) this.toggleDoorbell()
    if (this.#irqfd !== undefined) this.toggleInterrupt()
    this.interrupt.close()
  }
}

class Stress {
  readonly #random: Random
  readonly #guest = new BenchGuest()
  readonly #poller = new SignalPoller()
  readonly #wiring = new Wiring(this.#guest, this.#poller)
  #signals = 0
  #request = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  async run({ doorbells, progress }: StressOptions): Promise<StressResult> {
    this.#wiring.wireAll()
    await this.#guest.start()
    const start = { descriptors: 0, memory: 0 }
    let [steps, rung] = [0, 0]
    for (; rung < doorbells; rung = this.#guest.get('doorbells')) {
      await this.#step()
      if (start.memory === 0 && rung >= doorbells * RUN_IN) {
        // With everything wired, as at the end.
        await this.#lastSignal()
        Object.assign(start, { descriptors: descriptors(), memory: memory() })
      }
      if (++steps % 1000 === 0) progress?.(rung)
    }
    await this.#lastSignal(QUIET_MS)
    return {
      rung: this.#guest.get('doorbells'),
      heard: this.#wiring.heard,
      exits: this.#guest.doorbellExits,
      signals: this.#signals,
      interrupts: this.#guest.get('interrupts'),
      wirings: this.#wiring.changes,
      descriptors: [start.descriptors, descriptors()],
      memory: [start.memory, memory()],
    }
  }

  async close(): Promise<void> {
    this.#wiring.close()
    this.#poller.close()
    await this.#guest.close()
  }

  /** One burst, and what happens meanwhile. */
  async #step(): Promise<void> {
    const random = this.#random
    this.#guest.set('burst', 1 + random.below(random.of([1, 16, 256, 4096, MOST_PER_BURST])))
    this.#signal(random.of([1, 1, 1, 2, 5]))
    if (random.chance(0.1)) this.#wiring.toggleDoorbell()
    if (random.chance(0.1)) this.#wiring.toggleInterrupt()
    // Often not at all, so that bursts meet what is done to the wires.
    if (random.chance(0.2)) await sleep(random.below(3))
    else if (random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve))
    if (random.chance(0.2)) await this.#lastSignal()
  }

  #signal(times: number): void {
    this.#signals += times
    for (let i = 0; i < times; i++) this.#wiring.interrupt.signal()
  }

  /** After a pause in signalling everything that was signalled has been taken, and everything that was rung was heard. */
  async #lastSignal(quiet = 0): Promise<void> {
    this.#request = (this.#request + 1) % U32
    this.#guest.set('request', this.#request)
    if (this.#random.chance(0.5)) {
      this.#signal(1)
      this.#wiring.wireAll()
    } else {
      this.#wiring.wireAll()
      this.#signal(1)
    }
    // An interrupt that came before the last one may still be under way: the counts have to agree for a while.
    let [turns, rung, since] = [0, -1, performance.now()]
    const end = since + TIMEOUT_MS
    while (turns < SETTLED_TURNS || performance.now() - since < quiet) {
      const before = rung
      rung = this.#guest.get('doorbells')
      const heard = this.#wiring.heard + this.#guest.doorbellExits
      turns = this.#guest.get('seen') === this.#request && heard === rung && rung === before ? turns + 1 : 0
      if (turns === 0) since = performance.now()
      if (performance.now() > end) throw new Error(`lost or invented: ${this.#describe()}`)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #describe(): string {
    const guest = this.#guest
    return JSON.stringify({
      request: this.#request,
      seen: guest.get('seen'),
      rung: guest.get('doorbells'),
      heard: this.#wiring.heard,
      exits: guest.doorbellExits,
    })
  }
}

/**
 * Runs until the guest has rung often enough.
 * @throws Error when an interrupt or a doorbell was lost, or one too many was counted
 */
export async function stress(options: StressOptions): Promise<StressResult> {
  const run = new Stress(options.seed)
  try {
    return await run.run(options)
  } finally {
    await run.close()
  }
}
