// How a test gets at a device that served-device.ts serves.
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ExecutionContext } from 'ava'

import { type ConnectOptions, VfioDevice } from '../../../ts/index.js'
import { temporaryFolder } from '../../temporary.js'

export interface ServedBy {
  readonly mode: 'loop' | 'thread'
}

/** A connection to a new one. */
export async function connectServed(
  t: ExecutionContext,
  { mode }: ServedBy,
  options: ConnectOptions = {},
): Promise<{ device: VfioDevice; path: string }> {
  const path = join(temporaryFolder(t, 'served'), 's')
  const worker = new Worker(new URL('./served-device.js', import.meta.url), {
    workerData: { path, mode },
    execArgv: [],
    trackUnmanagedFds: false,
  })
  t.teardown(() => worker.terminate())
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const device = await VfioDevice.connect(path, { timeoutMs: 5000, ...options })
  t.teardown(() => device.close())
  return { device, path }
}
