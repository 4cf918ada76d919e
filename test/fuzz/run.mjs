// Runs the fuzzing session in processes of their own, so that a crash can be told: their last calls are in files. With
// NODE_VFIO_PRELOAD, they run under the sanitizers, and what those write is judged here. A process that makes no calls any more
// is ended.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { findingsIn, sanitizerEnvironment } from '../../scripts/lib/sanitizers.mjs'

const SESSION = fileURLToPath(new URL('../../out/test/fuzz/session.js', import.meta.url))
const MESSAGES = fileURLToPath(new URL('../../out/test/fuzz/messages/session.js', import.meta.url))
const KEPT = 25
const LOOK_EVERY_MS = 5000
/** A call has 120 s, a Worker 180 s to end; what is longer hangs. */
const SILENCE_MS = 400_000

const { values, tokens } = parseArgs({
  strict: false,
  tokens: true,
  options: {
    seed: { type: 'string', default: String((Date.now() % 1_000_000) + 1) },
    calls: { type: 'string', default: '100000' },
    processes: { type: 'string', default: '1' },
    messages: { type: 'string', default: '0' },
  },
})
const OWN = ['seed', 'calls', 'processes', 'messages']
const others = tokens
  .filter((token) => token.kind === 'option')
  .filter(({ name }) => !OWN.includes(name))
  .flatMap(({ rawName, value }) => (value === undefined ? [rawName] : [rawName, value]))

const folder = mkdtempSync(join(tmpdir(), 'node-vfio-fuzz-'))
const preload = process.env.NODE_VFIO_PRELOAD
const sanitizers =
  preload === undefined
    ? {}
    : {
        LD_PRELOAD: preload,
        ...sanitizerEnvironment(folder, { leaks: process.env.NODE_VFIO_LEAKS !== '0' }),
      }

const tail = (file) => (existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-KEPT) : [])

/** One process; resolves to whether it failed. */
const session = ({ program, args: more = others, seed, calls, crew, say }) =>
  new Promise((resolve) => {
    const log = join(folder, `calls${crew ?? ''}`)
    const args = ['--seed', String(seed), '--calls', String(calls), '--log', log, ...more]
    const child = spawn(
      process.execPath,
      [
        ...['--expose-gc', '--enable-source-maps', program],
        ...args,
        ...(crew === undefined ? [] : ['--crew', String(crew)]),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...sanitizers } },
    )
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', say)
    let last = Date.now()
    let before = ''
    const watch = setInterval(() => {
      const now = existsSync(log) ? `${statSync(log).mtimeMs} ${statSync(log).size}` : ''
      if (now !== before) last = Date.now()
      before = now
      if (Date.now() - last < SILENCE_MS) return
      say(`FAILED: no call for ${SILENCE_MS / 1000} s: the last one hangs`)
      child.kill('SIGABRT')
      last = Date.now()
    }, LOOK_EVERY_MS)
    child.on('close', (status, signal) => {
      clearInterval(watch)
      if (status !== 0 && status !== 1) {
        say(`FAILED: the process ended with ${signal ?? `status ${status}`}, seed ${seed}. The last calls:`)
        for (const line of tail(log)) say(`  ${line}`)
        say('and the last ones of a Worker:')
        for (const line of tail(`${log}.worker`)) say(`  ${line}`)
      }
      resolve(status !== 0)
    })
  })

const processes = Number(values.processes)
const sessions = Array.from({ length: processes }, (_, index) =>
  session({
    program: process.env.NODE_VFIO_SESSION ?? SESSION,
    seed: Number(values.seed) + index,
    calls: Math.ceil(Number(values.calls) / processes),
    crew: processes === 1 ? undefined : index,
    say: (line) => console.log(processes === 1 ? line : `${index}: ${line}`),
  }),
)
const failures = await Promise.all(sessions)
const messages = Number(values.messages)
if (messages > 0) {
  const failed = await session({
    program: MESSAGES,
    // Its device is no kernel's, and is one all the same.
    args: others.filter((each) => each !== '--host'),
    seed: Number(values.seed),
    calls: messages,
    crew: undefined,
    say: (line) => console.log(line),
  })
  failures.push(failed)
}
const findings = preload === undefined ? [] : findingsIn(folder)
for (const { text } of findings) console.log(text)
rmSync(folder, { recursive: true })
process.exitCode = failures.includes(true) || findings.length > 0 ? 1 : 0
