// Tells the recorder, and the processes that a test starts, which test file a process runs: ava loads this before it
// (ava.config.js), and nobody has asked the kernel for anything yet.

import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

if (process.env.NODE_VFIO_RECORD !== undefined) {
  const { default: test } = await import('ava')
  const root = new URL('../..', import.meta.url)
  // Without the folder that it was compiled into.
  process.env.NODE_VFIO_RECORD_TEST = relative(fileURLToPath(root), fileURLToPath(test.meta.file))
    .replace(/^[^/]+\/test\//, '')
    .replace(/\.test\.js$/, '')
}
