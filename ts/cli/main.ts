#!/usr/bin/env node
// The `vfio` command: the process around ./program.ts.
import { run } from './program.js'

// Whoever read the output has gone (vfio ls | head): nothing is left to do.
process.stdout.on('error', () => process.exit())

process.exitCode = await run(process.argv.slice(2), {
  host: {},
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
})
