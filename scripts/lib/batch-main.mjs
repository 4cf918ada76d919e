// The side of batch.mjs that runs where the tests run: one ava after another, each ended with all it started when its time is
// up. Only Node's own modules are imported here: loading is slow in the rig.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const say = (what) => process.stdout.write(`\n@batch ${JSON.stringify(what)}\n`)

const runJob = ({ cwd, file, matches, env = {} }, seconds) =>
  new Promise((resolve) => {
    const ava = join(cwd, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
    const child = spawn(
      process.execPath,
      [
        ava,
        '--tap',
        '--serial',
        '--concurrency',
        '1',
        '--timeout',
        `${seconds}s`,
        ...matches.flatMap((glob) => ['--match', glob]),
        file,
      ],
      // A group of its own, so that whatever it started ends with it.
      { cwd, env: { ...process.env, ...env, CI: '1' }, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
    )
    let problem = null
    const end = () => {
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // All of them have ended.
      }
    }
    const timer = setTimeout(
      () => {
        problem = `not done after ${seconds} s`
        end()
      },
      (seconds + 10) * 1000,
    )
    child.stdout.pipe(process.stdout, { end: false })
    child.stderr.pipe(process.stdout, { end: false })
    child.on('error', (error) => {
      clearTimeout(timer)
      resolve(error.message)
    })
    child.on('exit', (status, signal) => {
      clearTimeout(timer)
      problem ??= status === 0 ? null : `ava: ${signal ?? `exit status ${status}`}`
      // Its workers may hold the output open.
      setTimeout(end, 200)
    })
    child.on('close', () => resolve(problem))
  })

const { seconds, jobs } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
for (const job of jobs) {
  say({ begin: job.id })
  const problem = await runJob(job, seconds)
  say({ end: job.id, problem })
}
