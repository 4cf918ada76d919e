// `npm run example:vmm`: sets up what is missing, then runs examples/vmm on this machine. Runs on a fresh clone: only Node's
// own modules are imported here.

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import {
  prepareAddon,
  PrepareError,
  prepareExamples,
  prepareLibrary,
  prepareModules,
  VMM_PROGRAM,
} from './lib/prepare.mjs'
import { ROOT } from './lib/process.mjs'

try {
  prepareModules()
  prepareAddon()
  prepareLibrary()
  prepareExamples()
  const child = spawn(process.execPath, [join(ROOT, VMM_PROGRAM), ...process.argv.slice(2)], {
    stdio: 'inherit',
  })
  // A Ctrl-C reaches the child by itself, which ends its guest; a signal sent to this process only does not.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('close', (status, signal) => {
    process.exitCode = signal === null ? status : 128 + constants.signals[signal]
  })
} catch (error) {
  if (!(error instanceof PrepareError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
