// Finds QEMU, and as root installs it when it is missing: the one thing the rig cannot bring along by itself.

import { spawnSync } from 'node:child_process'
import { RigError, say } from './say.mjs'

const PROGRAM = 'qemu-system-x86_64'
const INSTALL = ['install', '-y', '--no-install-recommends', 'qemu-system-x86']

const present = () => spawnSync(PROGRAM, ['--version'], { stdio: 'ignore' }).status === 0

// Its output goes to stderr as it comes; another apt at work is waited for.
const aptGet = (args) =>
  spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=600', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 2, 2],
  }).status === 0

/** The name of a QEMU that runs. */
export const findQemu = () => {
  if (present()) return PROGRAM
  const command = `apt-get ${INSTALL.join(' ')}`
  if (process.getuid() !== 0) throw new RigError(`${PROGRAM} is missing; install it with:\n  sudo ${command}`)
  say(`${PROGRAM} is missing: ${command}`)
  if (!aptGet(INSTALL)) {
    say('that failed, perhaps because the package lists are old: apt-get update, and once more')
    aptGet(['update'])
    if (!aptGet(INSTALL)) throw new RigError(`QEMU could not be installed; try: ${command}`)
  }
  if (!present()) throw new RigError(`${PROGRAM} is installed but does not start`)
  return PROGRAM
}
