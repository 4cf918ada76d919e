// Finds a QEMU that can run code while the guest patches it, and unpacks one where the system's is older.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cached, digest } from './cache.mjs'
import { install } from './install.mjs'
import { Apt, DEBIAN_LIBRARIES, osRelease } from './packages.mjs'
import { RigError, say, warn } from './say.mjs'

export const PROGRAM = 'qemu-system-x86_64'
export const PACKAGE = 'qemu-system-x86'
const OF_QEMU = new RegExp(`^qemu-system-(common|data)$|^seabios$|${DEBIAN_LIBRARIES.source}`)
const FIRMWARE = ['qemu', 'seabios']

/** Where the firmware of an unpacked QEMU is, as its arguments. */
export const firmwareIn = (tree) => FIRMWARE.flatMap((name) => ['-L', join(tree, 'usr/share', name)])

// Older ones translate a page of the guest without holding it: where one processor patches what another one translates (a
// kernel its own code, node the code it compiles), the other may keep what stood there for a moment, and run it for ever.
const NEWEST_BAD = [8, 0]

/**
 * Whether a version, Debian's or as QEMU says it, is above `[major, minor]`.
 * @param {string | undefined} version
 * @param {number[]} bound
 */
export const isAbove = (version, [major, minor]) => {
  const [ofMajor, ofMinor] = (/(?:^|version |:)(\d+)\.(\d+)/.exec(version ?? '')?.slice(1) ?? []).map(Number)
  return ofMajor > major || (ofMajor === major && ofMinor > minor)
}

const recent = (version) => isAbove(version, NEWEST_BAD)

const versionOf = (program, env = process.env) => {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', env })
  return status === 0 ? stdout : undefined
}

const OF_THE_SYSTEM = { program: PROGRAM, args: [], env: process.env }

const unpacked = (tree) => {
  const libraries = ['usr/lib', 'lib'].map((folder) => join(tree, folder, 'x86_64-linux-gnu'))
  return {
    program: join(tree, 'usr/bin', PROGRAM),
    args: firmwareIn(tree),
    env: { ...process.env, LD_LIBRARY_PATH: libraries.join(':') },
  }
}

/** Debian's suites to look in, the system's own first. */
const suites = () => {
  const own = osRelease('VERSION_CODENAME')
  return own === undefined ? [] : [[own], [own, `${own}-backports`]]
}

/**
 * Unpacks into `folder` the QEMU of the first of `choices` (arrays of Debian's suites) whose version is `wanted`, with those
 * packages of what it depends on that match `needed`. Returns whether there was one.
 */
export const unpackQemu = async (folder, { choices, wanted, needed }) => {
  let found = false
  for (const [index, names] of choices.entries()) {
    const apt = new Apt(join(folder, `apt-${index}`), { suites: names })
    await apt.update()
    found = wanted(apt.describe(PACKAGE)?.version)
    if (!found) continue
    await apt.unpack(apt.closure([PACKAGE], needed), folder)
    const share = join(folder, 'usr/share')
    for (const name of readdirSync(share)) {
      if (!FIRMWARE.includes(name)) rmSync(join(share, name), { recursive: true })
    }
    break
  }
  for (const name of readdirSync(folder).filter((entry) => entry.startsWith('apt-'))) {
    rmSync(join(folder, name), { recursive: true })
  }
  return found
}

const unpack = async (folder) => {
  await unpackQemu(folder, { choices: suites(), wanted: recent, needed: OF_QEMU })
  const { program, env } = unpacked(folder)
  if (!existsSync(program))
    throw new RigError(`Debian's archive has no QEMU newer than ${NEWEST_BAD.join('.')} for this system`)
  if (versionOf(program, env) === undefined) throw new RigError('the unpacked QEMU does not start here')
}

const find = async () => {
  const version = versionOf(PROGRAM)
  if (recent(version)) return OF_THE_SYSTEM
  const name = `qemu-${osRelease('VERSION_CODENAME')}-${digest(PACKAGE, ...NEWEST_BAD.map(String))}`
  try {
    const tree = await cached(name, async (folder) => {
      const found = version === undefined ? 'no QEMU' : `QEMU ${/\d+[.\d]*/.exec(version)?.[0]}`
      say(`this system has ${found}: unpacking one above ${NEWEST_BAD.join('.')} into the cache, once`)
      await unpack(folder)
    })
    return unpacked(tree)
  } catch (error) {
    if (!(error instanceof RigError)) throw error
    warn(`${error.message}; a machine of an older QEMU can hang, rarely, where processors patch code`)
  }
  if (version === undefined) install([PACKAGE], `${PROGRAM} is`)
  if (versionOf(PROGRAM) === undefined) throw new RigError(`${PROGRAM} is installed but does not start`)
  return OF_THE_SYSTEM
}

let chosen

/**
 * What to start: `program`, what comes before all other arguments, and the environment. Looked for once in a process: where
 * there is no newer one, that takes a while.
 */
export const findQemu = () => (chosen ??= find())
