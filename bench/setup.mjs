// What the benchmarks need before they run, on a fresh clone too: the package built, the peers from npm, the C++ limits.
// Runs as a program of its own, so that main.mjs can send everything said here to stderr.

import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  prepareAddon,
  prepareBenchModules,
  PrepareError,
  prepareLibrary,
  prepareModules,
} from '../scripts/lib/prepare.mjs'
import { findProgram, ROOT, run } from '../scripts/lib/process.mjs'
import { say } from '../scripts/lib/say.mjs'

const BENCH = join(ROOT, 'bench')
const BUILD = join(ROOT, 'build-bench')

const must = (...command) => {
  const problem = run(...command)
  if (problem !== undefined) throw new PrepareError(problem)
}

const newest = (path) => {
  const status = statSync(path)
  if (!status.isDirectory()) return status.mtimeMs
  return Math.max(...readdirSync(path).map((name) => newest(join(path, name))))
}

const isStale = (target, ...sources) =>
  !existsSync(target) || statSync(target).mtimeMs < Math.max(...sources.map(newest))

const inBench = (pattern, ...folders) =>
  folders.flatMap((folder) =>
    readdirSync(join(BENCH, folder))
      .filter((name) => pattern.test(name))
      .map((name) => join(BENCH, folder, name)),
  )

/** Apart from out/, which tests may be using. */
const prepareTypeScript = () => {
  const sources = [
    join(ROOT, 'ts'),
    join(ROOT, 'examples', 'vmm', 'guest'),
    ...inBench(/\.ts$/, '.', 'guest', 'rows', 'user'),
  ]
  if (!isStale(join(BUILD, 'bench', 'host.js'), ...sources)) return
  say('compiling the benchmarks into build-bench/')
  must(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'bench'])
}

/** A peer that cannot be had costs its column, not the benchmark. */
const preparePeers = () => {
  try {
    prepareBenchModules()
  } catch (error) {
    if (!(error instanceof PrepareError)) throw error
    say(`without peers: ${error.message}`)
  }
}

const prepareBenchAddon = () => {
  const folder = join(BENCH, 'addon')
  const target = join(folder, 'build', 'Release', 'bench.node')
  if (!isStale(target, ...inBench(/\.(cc|gyp)$/, 'addon'), ...inBench(/\.h$/, 'baseline'))) return
  say("building the benchmarks' own addon")
  // Through npm, which hands its settings (a local `nodedir`, a proxy) to node-gyp.
  must('npm', ['exec', '--offline', '--', 'node-gyp', 'rebuild', '--silent', '-C', folder])
}

const FLAGS = ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread', `-I${join(ROOT, 'native')}`]

/** Each program of bench/baseline, and the library that koffi calls. */
const prepareLimits = () => {
  const compiler = findProgram(...[process.env.CXX, 'g++', 'c++'].filter(Boolean))
  if (compiler === undefined) throw new PrepareError('there is no C++ compiler: install g++')
  const folder = join(BUILD, 'limits')
  mkdirSync(folder, { recursive: true })
  const headers = inBench(/\.h$/, 'baseline')
  for (const source of inBench(/\.cc$/, 'baseline')) {
    const name = source.slice(source.lastIndexOf('/') + 1, -'.cc'.length)
    const library = name === 'registers'
    const target = join(folder, library ? 'libregisters.so' : name)
    if (!isStale(target, source, ...headers)) continue
    say(`${compiler} -O2 bench/baseline/${name}.cc`)
    must(compiler, [...FLAGS, ...(library ? ['-shared', '-fPIC'] : []), source, '-o', target])
  }
}

try {
  prepareModules()
  prepareAddon()
  prepareLibrary()
  prepareTypeScript()
  preparePeers()
  prepareBenchAddon()
  prepareLimits()
} catch (error) {
  if (!(error instanceof PrepareError)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
}
