// A Worker that rings: as fast as it can, in the bursts of a seed. Ends when all is rung, and tells how often each was.
import { parentPort, workerData } from 'node:worker_threads'

import { EventFd, type ShareToken } from '../../ts/index.js'
import { bursts } from './bursts.js'

export interface RingerData {
  tokens: readonly ShareToken[]
  total: number
  seed: number
}

const { tokens, total, seed } = workerData as RingerData
const eventfds = tokens.map((token) => EventFd.claim(token))
const rung = tokens.map(() => 0)
const clock = new Int32Array(new SharedArrayBuffer(4))
for (const { bell, rings, pause } of bursts(eventfds.length, total, seed)) {
  const eventfd = eventfds[bell]!
  for (let i = 0; i < rings; i++) eventfd.signal()
  rung[bell]! += rings
  if (pause > 0) Atomics.wait(clock, 0, 0, pause)
}
for (const eventfd of eventfds) eventfd.close()
parentPort?.postMessage(rung)
