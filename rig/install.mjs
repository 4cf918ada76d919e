// Installs Debian packages on the machine itself, as root and saying so: for the few things that the rig cannot bring
// along unpacked.

import { spawnSync } from 'node:child_process'
import { RigError, say } from './say.mjs'

// Its output goes to stderr as it comes; another apt at work is waited for.
const aptGet = (args) =>
  spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=600', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 2, 2],
  }).status === 0

/** Installs `packages`; `missing` says what they are for. Throws RigError with the command to give when it cannot. */
export const install = (packages, missing) => {
  const args = ['install', '-y', '--no-install-recommends', ...packages]
  const command = `apt-get ${args.join(' ')}`
  if (process.getuid() !== 0) throw new RigError(`${missing} missing; install with:\n  sudo ${command}`)
  say(`${missing} missing: ${command}`)
  if (aptGet(args)) return
  say('that failed, perhaps because the package lists are old: apt-get update, and once more')
  aptGet(['update'])
  if (!aptGet(args)) throw new RigError(`the packages could not be installed; try: ${command}`)
}
