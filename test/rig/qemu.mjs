// Finds QEMU, and as root installs it when it is missing.

import { spawnSync } from 'node:child_process'
import { install } from './install.mjs'
import { RigError } from './say.mjs'

const PROGRAM = 'qemu-system-x86_64'

const present = () => spawnSync(PROGRAM, ['--version'], { stdio: 'ignore' }).status === 0

/** The name of a QEMU that runs. */
export const findQemu = () => {
  if (present()) return PROGRAM
  install(['qemu-system-x86'], `${PROGRAM} is`)
  if (!present()) throw new RigError(`${PROGRAM} is installed but does not start`)
  return PROGRAM
}
