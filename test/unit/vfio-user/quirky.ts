// Starts servers that misbehave, and connects to them. For tests.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { ExecutionContext } from 'ava'

import { type ConnectOptions, VfioDevice, VfioError } from '../../../ts/index.js'
import { temporaryFolder } from '../../temporary.js'
import type { Quirks } from './quirks.js'

/** How long a server has to see that its client is gone, in milliseconds. */
const PATIENCE = 3000

export interface Server {
  readonly path: string
  /** It ends by itself once its client is gone, or is ended. */
  stop(): Promise<unknown>
}

/** A server for one connection. It ends with that, or with the test. */
export async function serve(t: ExecutionContext, quirks: Omit<Quirks, 'path'> = {}): Promise<Server> {
  const path = join(temporaryFolder(t, 'quirky'), 's')
  const worker = new Worker(new URL('./quirky-server.js', import.meta.url), {
    workerData: { ...quirks, path },
    execArgv: [],
    // It closes descriptors that came with messages.
    trackUnmanagedFds: false,
  })
  const exited = new Promise((resolve) => worker.once('exit', resolve))
  t.teardown(() => worker.terminate())
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const killed = async (): Promise<unknown> => {
    await sleep(PATIENCE, undefined, { ref: false })
    return worker.terminate()
  }
  return { path, stop: () => Promise.race([exited, killed()]) }
}

export async function connectTo(
  t: ExecutionContext,
  quirks: Omit<Quirks, 'path'> = {},
  options: ConnectOptions = {},
): Promise<VfioDevice> {
  const { path } = await serve(t, quirks)
  const device = await VfioDevice.connect(path, { timeoutMs: 2000, ...options })
  t.teardown(() => device.close())
  return device
}

/** What a call threw, which must be a VfioError. */
export function refusal(t: ExecutionContext, call: () => unknown): VfioError {
  return t.throws(call, { instanceOf: VfioError }) as VfioError
}

export async function refusalOf(t: ExecutionContext, call: () => Promise<unknown>): Promise<VfioError> {
  return (await t.throwsAsync(call, { instanceOf: VfioError })) as VfioError
}

/** How many descriptors the process has, those of a server that was not stopped too. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}
