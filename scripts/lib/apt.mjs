// Installing Debian packages, and saying so. Only as root: a script does not ask for a password.

import { findProgram, run } from './process.mjs'
import { say } from './say.mjs'

/**
 * Installs the programs that are missing, given with their packages. Returns undefined when all are there now, else why not.
 * @param {Record<string, string>} programs
 */
export const installPrograms = (programs, why) => {
  const missing = Object.keys(programs).filter((program) => findProgram(program) === undefined)
  return missing.length === 0
    ? undefined
    : aptInstall(
        missing.map((program) => programs[program]),
        why,
      )
}

/** Installs packages. Returns undefined when it went well, else why not. */
export const aptInstall = (packages, why) => {
  const list = packages.join(' ')
  if (findProgram('apt-get') === undefined) return `${list} missing, and there is no apt-get to install with`
  if (process.getuid() !== 0) return `${list} missing; as root: apt-get install ${list}`
  say(`installing ${list} with apt-get: ${why}`)
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'inherit'],
  }
  const install = () =>
    run('apt-get', ['-qq', 'install', '-y', '--no-install-recommends', ...packages], options)
  // The lists of a fresh machine are empty or old: an update is only needed then.
  if (install() === undefined) return undefined
  say('that failed; once more after apt-get update')
  return run('apt-get', ['-qq', 'update'], options) ?? install()
}
