// Tells the recorder, and the processes that a test starts, which test file a process runs: ava loads this before it
// (ava.config.js), and nobody has asked the kernel for anything yet.

import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

if (process.env.NODE_VFIO_RECORD !== undefined) {
  const { default: test } = await import('ava')
  const compiled = new URL('../../out/test/', import.meta.url)
  process.env.NODE_VFIO_RECORD_TEST = relative(
    fileURLToPath(compiled),
    fileURLToPath(test.meta.file),
  ).replace(/\.test\.js$/, '')
}
