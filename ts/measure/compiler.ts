// Compiles what the figures stand beside, the programs of bench/baseline and the addon of bench/addon, with the user's own
// compiler into the user's cache. The package holds their sources, not binaries: a limit is what this machine makes of it.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

/** The folder of package.json. */
const PACKAGE = dirname(createRequire(import.meta.url).resolve('#package.json'))
const SOURCES = join(PACKAGE, 'bench')
const HEADERS = ['measure.h', 'partner.h'].map((name) => join(SOURCES, 'baseline', name))
const FLAGS = ['-std=c++20', '-O2', '-pthread']
const TIMEOUT_MS = 120_000

/** What could not be made, and why. */
export interface None {
  readonly none: string
}

export interface CompilerOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Told before a compiler is started. */
  readonly say: (text: string) => void
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function onPath(program: string, path: string): string | undefined {
  if (program.includes('/')) return isExecutable(program) ? program : undefined
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, program))
    .find(isExecutable)
}

/** The compiler that is used: what CXX names, and nothing else where it names one. */
export function findCompiler(env: CompilerOptions['env']): string | None {
  const { CXX = '', PATH = '' } = env
  const wanted = CXX === '' ? ['g++', 'c++', 'clang++'] : [CXX]
  for (const program of wanted) {
    const found = onPath(program, PATH)
    if (found !== undefined) return found
  }
  return CXX === ''
    ? { none: 'there is no C++ compiler: install one (apt install g++, dnf install gcc-c++)' }
    : { none: `CXX is ${CXX}, which is no program here` }
}

/** Where compiled programs are kept. */
export function cacheFolder({ XDG_CACHE_HOME = '' }: CompilerOptions['env']): string {
  return join(
    XDG_CACHE_HOME.startsWith('/') ? XDG_CACHE_HOME : join(homedir(), '.cache'),
    'node-vfio',
    'bench',
  )
}

const OTHERS_WRITE = 0o022
const STICKY = 0o1000

/**
 * Whether only this user and root can put something at a path, there or yet to be made: they own it and every folder on the
 * way, and nobody else may write there. What another user could exchange is not run, least of all as root.
 */
function isOurs(path: string): boolean {
  let at = path
  while (!existsSync(at)) at = dirname(at)
  for (at = realpathSync(at); ; at = dirname(at)) {
    const { uid, mode } = statSync(at)
    if (uid !== 0 && uid !== process.getuid?.()) return false
    // In a folder like /tmp nobody touches what is another's.
    if ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0) return false
    if (at === dirname(at)) return true
  }
}

/** The folder of Node's own headers: those that the addon was built with, or those beside node. */
function nodeHeaders(): string | undefined {
  const config = join(PACKAGE, 'build', 'config.gypi')
  const built = existsSync(config)
    ? /"nodedir":\s*"([^"]+)"/.exec(readFileSync(config, 'utf8'))?.[1]
    : undefined
  return [built, dirname(dirname(realpathSync(process.execPath)))]
    .flatMap((folder) => (folder === undefined ? [] : [join(folder, 'include', 'node')]))
    .find((folder) => existsSync(join(folder, 'node_api.h')))
}

export class Compiler {
  readonly #env: CompilerOptions['env']
  readonly #say: CompilerOptions['say']
  readonly #compiler: string | None
  #own: string | undefined
  readonly #made = new Map<string, string | None>()

  constructor({ env, say }: CompilerOptions) {
    this.#env = env
    this.#say = say
    this.#compiler = findCompiler(env)
    if (typeof this.#compiler !== 'string') say(`without the C++ limits: ${this.#compiler.none}`)
  }

  /** A program of bench/baseline, ready to run. */
  program(name: string): string | None {
    return this.#once(join(SOURCES, 'baseline', `${name}.cc`), name, [])
  }

  /** bench/addon, ready to load. */
  addon(): string | None {
    const headers = nodeHeaders()
    if (headers === undefined) return { none: "Node's own headers (node_api.h) are not here" }
    const flags = ['-shared', '-fPIC', '-DNAPI_VERSION=9', `-I${headers}`, `-I${join(SOURCES, 'baseline')}`]
    return this.#once(join(SOURCES, 'addon', 'addon.cc'), 'bench.node', flags)
  }

  #once(source: string, target: string, flags: readonly string[]): string | None {
    let made = this.#made.get(target)
    if (made === undefined) {
      made = this.#make(source, target, flags)
      this.#made.set(target, made)
    }
    return made
  }

  /** Where programs go: the cache, or a folder for this run where others may write to the cache. Made if need be. */
  #folder(cached: string): string | None {
    try {
      if (isOurs(cached)) {
        mkdirSync(cached, { recursive: true, mode: 0o700 })
        // In a folder like /tmp somebody else may have been there first.
        if (isOurs(cached)) return realpathSync(cached)
      }
      if (this.#own === undefined) {
        if (!isOurs(tmpdir())) return { none: `neither ${cached} nor ${tmpdir()} is safe from other users` }
        const own = mkdtempSync(join(realpathSync(tmpdir()), 'node-vfio-bench-'))
        process.once('exit', () => {
          rmSync(own, { recursive: true, force: true })
        })
        this.#say(`${cached} is not this user's alone: compiling anew`)
        this.#own = own
      }
      return this.#own
    } catch (error) {
      return { none: (error as Error).message }
    }
  }

  #make(source: string, name: string, more: readonly string[]): string | None {
    const compiler = this.#compiler
    if (typeof compiler !== 'string') return compiler
    const flags = [...FLAGS, ...more]
    const key = createHash('sha256').update([compiler, process.arch, ...flags].join('\0'))
    for (const file of [source, ...HEADERS]) key.update(readFileSync(file))
    const folder = this.#folder(join(cacheFolder(this.#env), key.digest('hex').slice(0, 16)))
    if (typeof folder !== 'string') return folder
    const target = join(folder, name)
    if (existsSync(target)) {
      if (isOurs(target)) return target
      return { none: `${target} is not this user's alone, so it is not run: remove it` }
    }
    this.#say(`compiling ${name} into ${folder} (${compiler})`)
    // Nobody may find half a program, another process that compiles the same among them.
    const unfinished = `${target}.${process.pid}`
    const { status, error, stderr } = spawnSync(compiler, [...flags, source, '-o', unfinished], {
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
    })
    if (status === 0) {
      renameSync(unfinished, target)
      return target
    }
    rmSync(unfinished, { force: true })
    const first =
      error?.message ?? stderr.split('\n').find((line) => /error/i.test(line)) ?? `status ${String(status)}`
    return { none: `${name} did not compile: ${first}` }
  }
}
