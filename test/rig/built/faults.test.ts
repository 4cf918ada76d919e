// The kernel runs out of memory in the middle of each call, allocation after allocation: every refusal is a VfioError, and
// nothing is left of the call.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import type { FaultReport } from './faults-main.js'

const library = fileURLToPath(new URL('build-record/fault.so', import.meta.resolve('#package.json')))
const program = fileURLToPath(new URL('faults-main.js', import.meta.url))

test.serial('each allocation in each call is failed once, and nothing is left', async (t) => {
  t.timeout(15 * 60_000)
  const child = spawn(process.execPath, [program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Behind the recorder, if there is one: nothing may come between the arming and the call.
    env: { ...process.env, LD_PRELOAD: [process.env.LD_PRELOAD, library].filter(Boolean).join(':') },
  })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  const [status] = (await once(child, 'close')) as [number | null]
  const reports = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as FaultReport)
  for (const { name, injected, outcomes } of reports) {
    const seen = Object.entries(outcomes).map(([code, count]) => `${String(count)} ${code}`)
    t.log(`${name}: ${String(injected)} allocations failed: ${seen.join(', ')}`)
  }
  t.is(status, 0, errors)
  t.true(reports.length >= 8)
  for (const { name, injected, outcomes, problems } of reports) {
    t.deepEqual(problems, [])
    t.true(injected > 0, `${name}: nothing was failed`)
    t.true((outcomes.ENOMEM ?? 0) > 0, `${name}: never out of memory`)
  }
})
