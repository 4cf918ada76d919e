// Workers beside the calls: each claims some of the objects there are, and is ended at a moment drawn by chance, or ends by
// itself. Owns their lives; what they do is worker.ts's.
import { setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

import { Finding, type Judge, isAllowed } from './judge.js'
import { ON_HOST, WITH_WORKERS } from './options.js'
import type { Population } from './population.js'
import type { Random } from './random.js'
import type { WorkerData, WorkerMessage } from './worker-data.js'

/** Calls between two Workers, on average: one costs a second in an emulated processor. */
const EVERY = ON_HOST ? 500 : 2500
const LIFE = { least: 20, most: 500 }
const MOST_AT_ONCE = 2
const MOST_TOKENS = 8
const PATIENCE = 180_000

interface Life {
  worker: Worker
  ended: Promise<unknown>
  /** Calls that are left to it; then it is ended. */
  left: number
}

export class Workers {
  /** How many there were. */
  started = 0
  /** How many of them were ended in the middle. */
  terminated = 0
  readonly covered = new Map<string, number>()
  readonly #random: Random
  readonly #population: Population
  readonly #judge: Judge
  readonly #lives = new Set<Life>()
  #finding: Finding | undefined

  constructor(random: Random, population: Population, judge: Judge) {
    this.#random = random
    this.#population = population
    this.#judge = judge
  }

  /** To be called after each call. */
  async tick(): Promise<void> {
    if (this.#finding !== undefined) throw this.#finding
    for (const life of Array.from(this.#lives)) if (--life.left <= 0) await this.#end(life)
    if (!WITH_WORKERS || this.#lives.size >= MOST_AT_ONCE || !this.#random.chance(1 / EVERY)) return
    this.#start()
    // Some are at work when the next call comes, some are not there yet.
    if (this.#random.chance(0.5)) await turn()
  }

  /** Ends all. */
  async close(): Promise<void> {
    for (const life of Array.from(this.#lives)) await this.#end(life)
    if (this.#finding !== undefined) throw this.#finding
  }

  #tokens(): WorkerData['tokens'] {
    const tokens: WorkerData['tokens'] = []
    const sharers = this.#population.everyone().filter(({ value }) => 'share' in value)
    for (let i = 0; i < MOST_TOKENS && sharers.length > 0; i++) {
      const { kind, value } = this.#random.of(sharers)
      try {
        const token: unknown = structuredClone((value as { share: () => unknown }).share())
        tokens.push({ kind, token })
      } catch (error) {
        if (!isAllowed(error)) throw error
      }
    }
    return tokens
  }

  #start(): void {
    const random = this.#random
    const data: WorkerData = {
      seed: random.next(),
      mode: random.chance(0.35) ? 'block' : 'calls',
      calls: 20 + random.below(300),
      tokens: this.#tokens(),
    }
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      workerData: data,
      argv: process.argv.slice(2),
    })
    const ended = new Promise((resolve) => worker.once('exit', resolve))
    worker.on('message', (message: WorkerMessage) => this.#hear(message, data.seed))
    worker.on('error', (error) => {
      this.#finding ??= new Finding(`a Worker (seed ${data.seed}) ended with ${error.stack ?? error.message}`)
    })
    const life = { worker, ended, left: LIFE.least + random.below(LIFE.most - LIFE.least) }
    this.#lives.add(life)
    void ended.then(() => this.#lives.delete(life))
    this.started++
  }

  #hear(message: WorkerMessage, seed: number): void {
    if (message.kind === 'finding') {
      this.#finding ??= new Finding(
        `in a Worker (seed ${seed}): ${message.text}\nits last calls:\n  ${message.last.join('\n  ')}`,
      )
      return
    }
    for (const [name, times] of message.covered) this.covered.set(name, (this.covered.get(name) ?? 0) + times)
    for (const name of message.succeeded) this.#judge.succeeded.add(name)
  }

  async #end(life: Life): Promise<void> {
    if (!this.#lives.has(life)) return
    this.terminated++
    const stuck = setTimeout(() => {
      console.log(`FAILED: a Worker does not end within ${PATIENCE} ms of terminate()`)
      process.abort()
    }, PATIENCE)
    await life.worker.terminate()
    await life.ended
    clearTimeout(stuck)
  }
}
