// What the benchmarks need before they run, on a fresh clone too: the package built, the peers from npm, the C++ limits.
// Runs as a program of its own, so that main.mjs can send everything said here to stderr.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  prepareAddon,
  PrepareError,
  prepareLibrary,
  prepareModules,
  prepareTypeScript,
} from '../scripts/lib/prepare.mjs'
import { findProgram, ROOT, run } from '../scripts/lib/process.mjs'
import { say } from '../scripts/lib/say.mjs'

const BENCH = join(ROOT, 'bench')
const BUILD = join(BENCH, 'build')

const must = (problem) => {
  if (problem !== undefined) throw new PrepareError(problem)
}

const newest = (path) => {
  const status = statSync(path)
  if (!status.isDirectory()) return status.mtimeMs
  return Math.max(...readdirSync(path).map((name) => newest(join(path, name))))
}

const isStale = (target, ...sources) =>
  !existsSync(target) || statSync(target).mtimeMs < Math.max(...sources.map(newest))

const installed = () => {
  try {
    const read = (...path) => JSON.parse(readFileSync(join(BENCH, ...path), 'utf8')).packages
    const wanted = read('package-lock.json')
    const present = read('node_modules', '.package-lock.json')
    return Object.keys(wanted['']?.dependencies ?? {}).every((name) => {
      const path = `node_modules/${name}`
      return present[path]?.version === wanted[path].version
    })
  } catch {
    return false
  }
}

/** A peer that cannot be had costs its column, not the benchmark. */
const preparePeers = () => {
  if (installed()) return
  say('npm ci in bench/: installs koffi and epoll, the npm packages to measure against (epoll is compiled)')
  const problem = run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: BENCH })
  if (problem !== undefined) say(`without peers: ${problem}`)
}

const prepareBenchAddon = () => {
  const folder = join(BENCH, 'addon')
  const target = join(folder, 'build', 'Release', 'bench.node')
  if (!isStale(target, join(folder, 'addon.cc'), join(folder, 'binding.gyp'), join(BENCH, 'baseline'))) return
  say("building the benchmarks' own addon")
  // Through npm, which hands its settings (a local `nodedir`, a proxy) to node-gyp.
  must(run('npm', ['exec', '--offline', '--', 'node-gyp', 'rebuild', '--silent', '-C', folder]))
}

const FLAGS = ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread', `-I${join(ROOT, 'native')}`]

const prepareBaselines = () => {
  const compiler = findProgram(...[process.env.CXX, 'g++', 'c++'].filter(Boolean))
  if (compiler === undefined) throw new PrepareError('no C++ compiler: install g++')
  mkdirSync(BUILD, { recursive: true })
  const folder = join(BENCH, 'baseline')
  const headers = readdirSync(folder).filter((name) => name.endsWith('.h'))
  for (const name of readdirSync(folder).filter((entry) => entry.endsWith('.cc'))) {
    const source = join(folder, name)
    const library = name === 'registers.cc'
    const target = join(BUILD, library ? 'libregisters.so' : name.slice(0, -'.cc'.length))
    if (!isStale(target, source, ...headers.map((header) => join(folder, header)))) continue
    say(`${compiler} -O2 bench/baseline/${name}`)
    must(run(compiler, [...FLAGS, ...(library ? ['-shared', '-fPIC'] : []), source, '-o', target]))
  }
}

try {
  prepareModules()
  prepareAddon()
  prepareLibrary()
  prepareTypeScript()
  preparePeers()
  prepareBenchAddon()
  prepareBaselines()
} catch (error) {
  if (!(error instanceof PrepareError)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
}
