// Starts the Worker that rings.
import { Worker } from 'node:worker_threads'

import type { EventFd } from '../../ts/index.js'
import type { RingerData } from './ringer.js'

/** Rings eventfds `total` times altogether; resolves, when the Worker has ended, with how often each was rung. */
export async function ring(eventfds: readonly EventFd[], total: number, seed: number): Promise<number[]> {
  const workerData: RingerData = { tokens: eventfds.map((eventfd) => eventfd.share()), total, seed }
  const worker = new Worker(new URL('./ringer.js', import.meta.url), { workerData })
  return new Promise((resolve, reject) => {
    let rung: number[] | undefined
    worker.once('message', (value: number[]) => {
      rung = value
    })
    worker.once('error', reject)
    worker.once('exit', (code) => {
      if (rung === undefined) reject(new Error(`the ringer ended (${String(code)}) without a word`))
      else resolve(rung)
    })
  })
}
