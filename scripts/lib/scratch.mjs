// Folders that a script needs while it runs. They go when it ends, however it ends, save by SIGKILL. It must not know
// what is put there.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { basename, join } from 'node:path'

const made = new Set()

const removeAll = () => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true })
  made.clear()
}

/** How everything begins that the project puts into the system's temporary folder. */
const PREFIX = 'node-vfio-'

/** A new folder in the system's temporary one. `signals` are those that would end this process before its 'exit'. */
export const scratchFolder = (name, signals = ['SIGINT', 'SIGTERM']) => {
  if (made.size === 0) {
    process.once('exit', removeAll)
    for (const signal of signals) process.on(signal, () => process.exit(128 + constants.signals[signal]))
  }
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${name}-`))
  made.add(folder)
  return folder
}

/**
 * From here on the temporary folder of this process, and of all that it starts, is one of its own, and goes with it: so does then
 * what somebody leaves who is killed.
 */
export const ownTemporaryFolder = (name, signals) => {
  // One is enough.
  if (!basename(tmpdir()).startsWith(PREFIX)) process.env.TMPDIR = scratchFolder(name, signals)
}

/** What of ours is in the temporary folder. */
export const leftBehind = () => readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX))
