// `npm run stress -- [--doorbells N] [--seed N]`: ten million doorbells of a guest on /dev/kvm, in random bursts and pauses,
// while their wires come and go. Runs on a fresh clone: only Node's own modules are imported here.

import { join } from 'node:path'
import { prepareAddon, PrepareError, prepareModules, prepareTypeScript } from './lib/prepare.mjs'
import { run } from './lib/process.mjs'

try {
  prepareModules()
  prepareAddon()
  prepareTypeScript()
  const program = join('out', 'test', 'kvm', 'stress-main.js')
  const problem = run(process.execPath, ['--expose-gc', program, ...process.argv.slice(2)])
  if (problem !== undefined) throw new PrepareError(problem)
} catch (error) {
  if (!(error instanceof PrepareError)) throw error
  console.error(`stress: ${error.message}`)
  process.exitCode = 1
}
