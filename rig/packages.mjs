// Downloads and unpacks Debian packages without installing them. apt does the work with lists and archives of
// our own, so that it needs no root, checks signatures, and leaves the system's apt as it was.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { megabytes, RigError, say, warn } from './say.mjs'

const run = (program, args, options = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    let output = ''
    child.stdout.on('data', (data) => (output += data))
    child.stderr.on('data', (data) => (output += data))
    child.on('error', reject)
    child.on('close', (status, signal) => {
      const ending = signal === null ? 'failed' : 'did not end in time'
      if (status === 0) resolve(output)
      else reject(new RigError(`${program} ${ending}:\n${output.trim()}`))
    })
  })

const ATTEMPTS = 3
// Of one attempt, for slow lines; the next goes on from what is there.
const PATIENCE_MS = 10 * 60_000

/** Downloads with apt-get, and tries again where that fails: behind a mirror is more than one machine. */
const download = async (args, cwd) => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run('apt-get', args, { cwd, timeout: PATIENCE_MS })
    } catch (error) {
      if (attempt === ATTEMPTS || !(error instanceof RigError)) throw error
      warn(`${error.message}\nrig: once more`)
    }
  }
}

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** Where this system's packages of Debian come from. */
const archive = () => {
  let targets
  try {
    targets = execFileSync(
      'apt-get',
      ['indextargets', '--format', '$(ORIGIN) $(REPO_URI) $(RELEASE)', 'Created-By: Packages'],
      { encoding: 'utf8' },
    )
  } catch (error) {
    throw new RigError(`apt-get does not say where packages come from: ${error.message}`)
  }
  const [, uri] =
    targets
      .split('\n')
      .map((line) => line.split(' '))
      .find(([origin, , release]) => origin === 'Debian' && !/security|updates|backports/.test(release)) ?? []
  if (uri === undefined)
    throw new RigError('apt-get of this system names no archive of Debian to take packages from')
  return uri
}

const onlySuites = (folder, suites, sources) => {
  const list = join(folder, 'sources.list')
  const uri = archive()
  const kinds = sources ? ['deb', 'deb-src'] : ['deb']
  const lines = suites.flatMap((suite) =>
    kinds.map((kind) => `${kind} [signed-by=${KEYRING}] ${uri} ${suite} main\n`),
  )
  writeFileSync(list, lines.join(''))
  return [
    ['Dir::Etc::sourcelist', list],
    ['Dir::Etc::sourceparts', '-'],
    // Of what several have, the last one's: backports stand back otherwise.
    ['APT::Default-Release', suites.at(-1)],
  ]
}

/** A field of the system's description of itself, as in `osRelease('VERSION_CODENAME')`. */
export const osRelease = (name) => {
  const text = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  return text.match(new RegExp(`^${name}="?([^"\n]*)`, 'm'))?.[1]
}

/** Libraries that come along with what is unpacked and runs on the system's C library: all but those that every system has, and must have one of only. */
export const DEBIAN_LIBRARIES = /^lib(?!c6$|gcc|stdc\+\+6$)/

/** The fields of a package that matter here. */
const described = (text) => {
  const field = (key) => text.match(new RegExp(`^${key}: (.*)$`, 'm'))?.[1] ?? ''
  return {
    name: field('Package'),
    version: field('Version'),
    size: Number(field('Size')),
    sha256: field('SHA256'),
    depends: [field('Pre-Depends'), field('Depends')]
      .join(',')
      .split(',')
      .map((alternatives) => alternatives.trim().split(/[ |(:]/)[0])
      .filter(Boolean),
  }
}

// Bytes. Smaller packages are not named one by one.
const LARGE = 500_000

export class Apt {
  #folder
  #options

  /**
   * `folder` holds this apt's lists and archives; nothing outside it is written. With `suites` it reads those suites of
   * Debian, from where the system has its own, and no others; with `sources` of their source packages too. `architecture` is
   * that of the packages, by Debian's name, if not this machine's.
   * @param {string} folder
   * @param {{ suites?: string[], sources?: boolean, architecture?: string }} options
   */
  constructor(folder, { suites, sources = false, architecture } = {}) {
    this.#folder = folder
    mkdirSync(join(folder, 'lists', 'partial'), { recursive: true })
    mkdirSync(join(folder, 'archives', 'partial'), { recursive: true })
    mkdirSync(join(folder, 'packages'), { recursive: true })
    // With an empty status file every version comes from the archive, never from what is installed here.
    writeFileSync(join(folder, 'status'), '')
    this.#options = [
      ['Dir::State', folder],
      ['Dir::State::lists', join(folder, 'lists')],
      ['Dir::State::status', join(folder, 'status')],
      ['Dir::Cache', folder],
      // Images of containers turn these off, and each question then reads all lists anew.
      ['Dir::Cache::pkgcache', 'pkgcache.bin'],
      ['Dir::Cache::srcpkgcache', 'srcpkgcache.bin'],
      ['APT::Sandbox::User', 'root'],
      ['Acquire::Languages', 'none'],
      ['Acquire::Retries', '3'],
      // Seconds without a byte: its own two minutes, four times over, look like a program that hangs.
      ['Acquire::http::Timeout', '30'],
      ['Acquire::https::Timeout', '30'],
      ...(architecture === undefined
        ? []
        : [
            ['APT::Architecture', architecture],
            ['APT::Architectures::', architecture],
          ]),
      ...(suites === undefined ? [] : onlySuites(folder, suites, sources)),
    ].flatMap(([name, value]) => ['-o', `${name}=${value}`])
  }

  async update() {
    try {
      await run('apt-get', [...this.#options, '-q', 'update'])
    } catch (error) {
      if (error.code === 'ENOENT')
        throw new RigError('apt-get is missing: the rig takes its kernel from Debian')
      // One unreachable source or a hook that wants root is no reason to stop: a missing package is.
      warn(`${error.message}\nrig: going on with the package lists at hand`)
    }
  }

  /** What is said of packages, each asked for by its name or as `name=version`: of those that there are. */
  #show(wanted) {
    const { stdout } = spawnSync('apt-cache', [...this.#options, '--no-all-versions', 'show', ...wanted], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return (stdout ?? '')
      .split('\n\n')
      .filter((text) => text.trim() !== '')
      .map(described)
  }

  /** The control fields of the newest version of `name` (of those that match, as in '7.2*'), or undefined. */
  describe(name, version) {
    return this.#show([version === undefined ? name : `${name}=${version}`])[0]
  }

  /** The described packages: `names`, and of what they depend on, and so on, those whose names match `wanted`. */
  closure(names, wanted) {
    const found = new Map()
    for (let next = names; next.length > 0;) {
      for (const one of this.#show(next)) if (!found.has(one.name)) found.set(one.name, one)
      const missing = next.find((name) => !found.has(name))
      if (missing !== undefined)
        throw new RigError(`this system's package sources have no ${missing}; the rig needs Debian's`)
      const needed = next.flatMap((name) => found.get(name).depends)
      next = [...new Set(needed)].filter((name) => wanted.test(name) && !found.has(name))
    }
    return [...found.values()]
  }

  /** What the signed list says of the archive that `upstream` downloads: its SHA-256. Empty when there is none. */
  upstreamDigest(name) {
    const { stdout } = spawnSync(
      'apt-get',
      [...this.#options, '-q', 'source', '--print-uris', '--tar-only', name],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    )
    return /\.orig\.tar\S* \d+ SHA256:([0-9a-f]{64})/.exec(stdout ?? '')?.[1] ?? ''
  }

  /** Downloads the source of a package as its authors released it, without what Debian adds; the path of the archive. */
  async upstream(name, folder) {
    await download([...this.#options, '-q', 'source', '--download-only', '--tar-only', name], folder)
    const found = readdirSync(folder).find((entry) => entry.includes('.orig.tar.'))
    if (found === undefined) throw new RigError(`the source of ${name} has no archive of its authors`)
    return join(folder, found)
  }

  /** Downloads the described packages and unpacks them all over `root`. */
  async unpack(packages, root) {
    const place = join(this.#folder, 'packages')
    const total = packages.reduce((sum, { size }) => sum + size, 0)
    say(
      `downloading ${packages.length} package${packages.length === 1 ? '' : 's'}, ${megabytes(total)} in all:`,
    )
    const large = packages.filter(({ size }) => size >= LARGE)
    for (const { name, version, size } of large) say(`  ${name} ${version}, ${megabytes(size)}`)
    if (large.length < packages.length) say(`  and ${packages.length - large.length} small ones`)

    const present = () =>
      [place, join(this.#folder, 'archives', 'partial')]
        .flatMap((folder) => readdirSync(folder).map((entry) => join(folder, entry)))
        .reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0)
    const progress = setInterval(() => say(`  ${megabytes(present())} of ${megabytes(total)}`), 3000)
    try {
      const named = packages.map(({ name, version }) => `${name}=${version}`)
      await download([...this.#options, '-q', 'download', ...named], place)
    } finally {
      clearInterval(progress)
    }

    say('unpacking')
    for (const file of readdirSync(place)) {
      await run('dpkg-deb', ['-x', join(place, file), root])
      rmSync(join(place, file))
    }
  }
}
