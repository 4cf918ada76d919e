// A headless Chromium, as much of one as tests need: started, told through its debugging pipe to open a page, asked what the page
// computes, ended. Knows no page.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import type { ExecutionContext } from 'ava'

import { temporaryFolder } from '../temporary.js'

export const CHROMIUM = 'chromium-headless-shell'

interface Answer {
  readonly id?: number
  readonly result?: unknown
  readonly error?: { readonly message: string }
}

export interface Page {
  /** The value of an expression in the page; a promise's, once it has one. */
  evaluate(expression: string): Promise<unknown>
}

/** Opens a page in a browser of its own. Everything ends with the test. */
export async function openPage(t: ExecutionContext, url: string): Promise<Page> {
  const child = spawn(
    CHROMIUM,
    [
      // The test runs as root, in a machine of its own.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--remote-debugging-pipe',
      `--user-data-dir=${temporaryFolder(t, 'chromium')}`,
      'about:blank',
    ],
    // A group of its own: the processes that it starts hold its pipes and write to its folder.
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true },
  )
  const [, , , commands, answers] = child.stdio as unknown as Duplex[]
  const closed = once(child, 'close')
  t.teardown(async () => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    commands?.destroy()
    answers?.destroy()
    await closed
  })
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  child.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error(`${CHROMIUM} has ended`))
  })
  let rest = ''
  answers?.setEncoding('utf8').on('data', (chunk: string) => {
    // Each message ends with a zero.
    const messages = (rest + chunk).split('\0')
    rest = messages.pop() ?? ''
    for (const message of messages) {
      const { id, result, error } = JSON.parse(message) as Answer
      const asked = waiting.get(id ?? 0)
      if (id === undefined || asked === undefined) continue
      waiting.delete(id)
      if (error === undefined) asked.resolve(result)
      else asked.reject(new Error(error.message))
    }
  })
  let asked = 0
  const ask = <T>(method: string, params: object, sessionId?: string): Promise<T> =>
    new Promise((resolve, reject) => {
      const id = ++asked
      waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      commands?.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    })
  const { targetId } = await ask<{ targetId: string }>('Target.createTarget', { url })
  const { sessionId } = await ask<{ sessionId: string }>('Target.attachToTarget', { targetId, flatten: true })
  return {
    evaluate: async (expression) => {
      const { result, exceptionDetails } = await ask<{
        result: { value?: unknown }
        exceptionDetails?: { text: string }
      }>('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true }, sessionId)
      if (exceptionDetails !== undefined) throw new Error(exceptionDetails.text)
      return result.value
    },
  }
}
