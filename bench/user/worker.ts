// A thread that serves the device and nothing else.
import { parentPort, workerData } from 'node:worker_threads'

import { benchAddon } from '../addon.js'
import { serveDevice } from './device.js'

export interface ServedInWorker {
  readonly path: string
  readonly cpu: number
}

/** The calling thread, for sched_setaffinity. */
const THIS_THREAD = 0

const { path, cpu } = workerData as ServedInWorker
benchAddon.pin(THIS_THREAD, [cpu])
const { server } = serveDevice(path, 'thread')
parentPort?.postMessage('ready')
await server.run()
