// The sample devices of libvfio-user, the C library of the protocol's authors, compiled: Debian's source of QEMU has that library's
// source in it. They are programs for tests, and are never shipped.

import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cached, digest } from './cache.mjs'
import { Apt, DEBIAN_LIBRARIES, osRelease } from './packages.mjs'
import { RigError, say } from './say.mjs'

// QEMU 7.1 is the first to have it; in a release of Debian it does not change.
const SUITES = ['bookworm', 'trixie']
const SAMPLES = ['server', 'gpio-pci-idio-16']
const INSIDE = 'subprojects/libvfio-user'
const FLAGS = ['-std=gnu99', '-O1', '-g', '-D_GNU_SOURCE', '-w']
const LIBRARY = 'usr/lib/x86_64-linux-gnu'

const execute = (program, args, options = {}) => {
  try {
    return execFileSync(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  } catch (error) {
    const said = String(error.stderr ?? '').trim()
    throw new RigError(`${program} failed while libvfio-user was made ready:\n${said || error.message}`)
  }
}

const make = async (suite, folder) => {
  say(`compiling the samples of libvfio-user, from the source of QEMU in ${suite}, once`)
  const work = join(folder, 'work')
  const apt = new Apt(join(work, 'apt'), { suites: [suite], sources: true })
  await apt.update()
  const archive = await apt.upstream('qemu', work)
  await apt.unpack(apt.closure(['libjson-c-dev'], DEBIAN_LIBRARIES), join(work, 'root'))
  const source = join(work, 'source')
  mkdirSync(source)
  const members = ['--wildcards', `*/${INSIDE}/include/*`, `*/${INSIDE}/lib/*`, `*/${INSIDE}/samples/*`]
  execute('tar', ['-xf', archive, '-C', source, '--strip-components=3', ...members])
  const library = readdirSync(join(source, 'lib'))
    .filter((name) => name.endsWith('.c'))
    .map((name) => join(source, 'lib', name))
  const root = join(work, 'root')
  for (const name of SAMPLES) {
    execute('gcc', [
      ...FLAGS,
      ...['include', 'lib'].map((each) => `-I${join(source, each)}`),
      `-I${join(root, 'usr/include/json-c')}`,
      ...library,
      join(source, 'samples', `${name}.c`),
      ...[`-L${join(root, LIBRARY)}`, '-l:libjson-c.a', '-lpthread', '-ldl', '-o', join(folder, name)],
    ])
  }
  rmSync(work, { recursive: true })
}

/**
 * The path of a sample: `server`, a device with a timer, an interrupt and DMA by messages, or `gpio-pci-idio-16`. Each takes the path
 * of its socket.
 * @param {string} name
 * @returns {Promise<string>}
 */
export const libvfioUserSample = async (name) => {
  const own = osRelease('VERSION_CODENAME')
  const suite = SUITES.includes(own) ? own : SUITES[0]
  const recipe = readFileSync(new URL(import.meta.url), 'utf8')
  const folder = await cached(`libvfio-user-${digest(suite, recipe)}`, (place) => make(suite, place))
  return join(folder, name)
}
