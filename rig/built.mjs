// Owns the rig's second kernel: built once from Debian's source package with built.config, for what Debian's own
// kernels leave out. Nothing of it is installed; it is cached by series and configuration.

import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { cached, cacheFolder, digest } from './cache.mjs'
import { install } from './install.mjs'
import { stockKernel } from './kernel.mjs'
import { Apt } from './packages.mjs'
import { RigError, say, warn } from './say.mjs'

/** The newest series whose interface is in native/uapi. */
const SERIES = '7.2'
const SUITE = 'trixie-backports'
const CONFIG = new URL('built.config', import.meta.url)

// What compiling a kernel takes beside a compiler, each by a file or program that shows it is there.
const NEEDS = {
  gcc: 'gcc',
  make: 'make',
  flex: 'flex',
  bison: 'bison',
  bc: 'bc',
  perl: 'perl',
  'xz-utils': 'xz',
  'libelf-dev': '/usr/include/libelf.h',
  'libc6-dev': '/usr/include/stdio.h',
}

const has = (what) =>
  what.startsWith('/')
    ? existsSync(what)
    : spawnSync(what, ['--version'], { stdio: 'ignore' }).error === undefined

const installNeeds = () => {
  const missing = Object.keys(NEEDS).filter((name) => !has(NEEDS[name]))
  if (missing.length > 0) install(missing, 'to build a kernel, programs are')
}

/** The source package of the pinned series, or of the newest one with a warning. */
const findSource = (apt) => {
  const pinned = apt.describe(`linux-source-${SERIES}`)
  if (pinned) return pinned
  const newest = apt.describe('linux-source')?.depends.find((name) => /^linux-source-\d/.test(name))
  const source = newest && apt.describe(newest)
  if (!source) throw new RigError(`the suite ${SUITE} has no source of Linux ${SERIES}, nor a newer one`)
  warn(`the suite ${SUITE} has no linux-source-${SERIES}; building ${newest}, which may differ`)
  return source
}

const PROGRESS_MILLISECONDS = 15_000

/** How many files the last build of built.config compiled. A dry run of make would tell, and takes as long as part of a build. */
const FILES = 1460

/** Minutes are what one waits in; below two of them, seconds. */
const duration = (seconds) =>
  seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} minutes`

/** How far a build is: done, total, time left. The total is no promise, so that it is passed in silence. */
export const progressOf = (files, seconds, total) => {
  const done = files > total ? `${files} files compiled` : `${files} of about ${total} files compiled`
  // The first files are small, and tell little.
  if (files < total / 50 || files > total) return `${done}, ${duration(seconds)}`
  return `${done}, about ${duration((seconds / files) * (total - files))} left`
}

/**
 * Runs make, telling now and then how far it is; its last lines are the error when it fails. Resolves to the number of files
 * that it compiled.
 * @param {string} folder
 * @param {string[]} args
 * @returns {Promise<number>}
 */
const make = (folder, args) =>
  new Promise((resolve, reject) => {
    const child = spawn('make', ['-C', folder, 'ARCH=x86_64', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Recorded in the kernel: the same for every user.
      env: { ...process.env, KBUILD_BUILD_USER: 'rig', KBUILD_BUILD_HOST: 'rig', LC_ALL: 'C' },
    })
    const started = Date.now()
    let files = 0
    const last = []
    const take = (line) => {
      if (/^ {2}(CC|AS) /.test(line)) files++
      last.push(line)
      if (last.length > 20) last.shift()
    }
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', take)
    const progress = setInterval(() => {
      say(`  ${progressOf(files, (Date.now() - started) / 1000, FILES)}`)
    }, PROGRESS_MILLISECONDS)
    child.on('error', reject)
    child.on('close', (status) => {
      clearInterval(progress)
      if (status === 0) resolve(files)
      else reject(new RigError(`the kernel does not compile:\n${last.join('\n')}`))
    })
  })

const tar = (archive, folder) => {
  const { status } = spawnSync('tar', ['-xJf', archive, '-C', folder], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) throw new RigError(`${archive} does not unpack`)
}

// A line that the source does not know, or whose conditions are not met, is dropped in silence: the tests would then
// miss what they count on.
const checkConfig = (tree) => {
  const lines = (path) => readFileSync(path, 'utf8').split('\n')
  const made = new Set(lines(join(tree, '.config')))
  const off = (line) => line.endsWith('=n')
  const lost = lines(CONFIG)
    .filter((line) => line.startsWith('CONFIG_'))
    .filter((line) => (off(line) ? made.has(line.replace(/n$/, 'y')) : !made.has(line)))
  if (lost.length > 0) warn(`this kernel does not take: ${lost.join(', ')}`)
}

const build = async (folder) => {
  installNeeds()
  const work = join(folder, 'work')
  mkdirSync(work)
  const apt = new Apt(join(folder, 'apt'), { suites: [SUITE] })
  await apt.update()
  const source = findSource(apt)
  await apt.unpack([source], work)
  tar(join(work, 'usr/src', `${source.name}.tar.xz`), work)
  const tree = join(work, source.name)
  copyFileSync(CONFIG, join(work, 'config'))
  await make(tree, [`KCONFIG_ALLCONFIG=${join(work, 'config')}`, 'allnoconfig'])
  checkConfig(tree)
  say(`building Linux ${source.version}: once, about 6 minutes on 2 processors`)
  const files = await make(tree, [`-j${availableParallelism()}`, 'vmlinux'])
  say(`${files} files compiled`)
  copyFileSync(join(tree, 'vmlinux'), join(folder, 'vmlinux'))
  copyFileSync(join(tree, '.config'), join(folder, 'config'))
  copyFileSync(join(tree, 'include/config/kernel.release'), join(folder, 'release'))
  writeFileSync(join(folder, 'version'), `${source.version}\n`)
  for (const bulk of ['work', 'apt']) rmSync(join(folder, bulk), { recursive: true, force: true })
}

const cacheName = () => `built-${SERIES}-${digest(readFileSync(CONFIG))}`

/** What building takes of the disk, in GiB: the package, the unpacked source and what is compiled. */
const SPACE = 4

/** Whether this user's cache has it already. */
export const isBuilt = () => existsSync(join(cacheFolder(), cacheName()))

/** Why this machine cannot build the kernel, if it has not done so yet; undefined when nothing is in the way. */
export const whyNotBuilt = () => {
  if (isBuilt()) return undefined
  const folder = cacheFolder()
  const { bavail, bsize } = statfsSync(folder)
  const free = (bavail * bsize) / 2 ** 30
  return free < SPACE
    ? `needs ${SPACE} GiB free below ${folder}, where ${free.toFixed(1)} GiB are`
    : undefined
}

/** The built kernel's release and image, in the shape of `stockKernel`, whose busybox it boots with. */
export const builtKernel = async () => {
  const lacking = whyNotBuilt()
  if (lacking !== undefined) throw new RigError(`building the kernel ${lacking}`)
  const { busybox } = await stockKernel()
  const tree = await cached(cacheName(), build)
  const release = readFileSync(join(tree, 'release'), 'utf8').trim()
  return { release, image: join(tree, 'vmlinux'), busybox, modules: null }
}
