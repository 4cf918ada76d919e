// Installing Debian packages, and saying so. Only as root: a script does not ask for a password. What is only read is unpacked.

import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
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

/** Downloads packages and unpacks them into a folder, installing nothing. Returns undefined when it went well, else why not. */
export const aptUnpack = (packages, folder, why) => {
  const list = packages.join(' ')
  for (const program of ['apt-get', 'dpkg-deb'])
    if (findProgram(program) === undefined) return `${list} missing, and there is no ${program}`
  say(`unpacking ${list} into ${folder}: ${why}`)
  const archives = join(folder, 'archives')
  mkdirSync(archives, { recursive: true })
  const options = { cwd: archives, stdio: ['ignore', 'ignore', 'inherit'] }
  const download = () =>
    run('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', ...packages], options)
  if (download() !== undefined) {
    if (process.getuid() !== 0) return `${list} cannot be downloaded; as root: apt-get update`
    say('that failed; once more after apt-get update')
    const problem = run('apt-get', ['-qq', 'update'], options) ?? download()
    if (problem !== undefined) return problem
  }
  for (const archive of readdirSync(archives).filter((name) => name.endsWith('.deb'))) {
    const problem = run('dpkg-deb', ['-x', join(archives, archive), folder])
    if (problem !== undefined) return problem
  }
  rmSync(archives, { recursive: true })
  return undefined
}
