// What the binaries are made with: Debian's clang and lld, the headers and C libraries of both processors, and LLVM's own
// sources of the C++ library. All of it comes from Debian's archive, whose signature apt checks, is exactly what
// toolchain.json names, and is unpacked into the cache: nothing is installed.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Apt, cached, cacheFolder, digest } from '../../rig/index.mjs'
import { say } from '../lib/say.mjs'

const SUITE = 'bookworm'
const LOCK = new URL('toolchain.json', import.meta.url)

/** The newest clang of that Debian; its number is in the names of packages and programs. */
const CLANG = 19
const SOURCE = `llvm-toolchain-${CLANG}`

const COMPILER = [`clang-${CLANG}`, `lld-${CLANG}`]
// Of what they depend on: what the programs load, and clang's own headers. No C library, which the machine has.
const COMPILER_NEEDS = new RegExp(
  `^(llvm-${CLANG}-linker-tools|libclang-common-${CLANG}-dev|lib(?!c6|gcc|stdc|objc|crypt|nsl|tirpc|.*-dev).*)$`,
)
const PROCESSORS = ['amd64', 'arm64']
// libgcc-12-dev has the first and last object of a library, and what processors lack as functions.
const SYSTEM = ['libc6', 'libc6-dev', 'linux-libc-dev', 'libgcc-12-dev', 'musl', 'musl-dev']

export class ToolchainError extends Error {}

const lockOf = (machine, systems, source) => {
  const rows = (packages) =>
    Object.fromEntries(packages.map(({ name, version, sha256 }) => [name, { version, sha256 }]))
  return {
    suite: SUITE,
    compiler: rows(machine),
    ...Object.fromEntries(PROCESSORS.map((name, i) => [name, rows(systems[i])])),
    source: { [SOURCE]: { sha256: source } },
  }
}

/** What of two locks differs, as sentences. */
export const differences = (locked, found) =>
  Object.entries(found)
    .filter(([part]) => part !== 'suite')
    .flatMap(([part, packages]) =>
      Object.entries(packages)
        .filter(([name, { sha256 }]) => locked[part]?.[name]?.sha256 !== sha256)
        .map(([name, { version = 'another archive' }]) => {
          const before = locked[part]?.[name]
          return `${part}: ${name} ${version}, not ${before?.version ?? (before ? 'the one named' : 'named')}`
        }),
    )

const check = (found, policy) => {
  const locked = JSON.parse(readFileSync(LOCK, 'utf8'))
  const changed = differences(locked, found)
  if (changed.length === 0) return
  if (policy === 'update') {
    writeFileSync(LOCK, `${JSON.stringify(found, null, 2)}\n`)
    say(`scripts/prebuild/toolchain.json now names ${changed.length} other packages`)
    return
  }
  const text = `Debian's packages are not those of scripts/prebuild/toolchain.json:\n  ${changed.join('\n  ')}`
  if (policy === 'current') say(`${text}\n  going on with them, since this is a test`)
  else throw new ToolchainError(`${text}\nlook at the change, then: npm run prebuild -- --update`)
}

const tar = (archive, folder) => {
  // The folders that PARTS in library.mjs names; what of LLVM is beside them is a hundred times as much.
  const wanted = ['libcxx', 'libcxxabi', 'libunwind'].flatMap((name) => [
    `*/${name}/src`,
    `*/${name}/include`,
  ])
  const args = [
    '-xf',
    archive,
    '-C',
    folder,
    '--strip-components=1',
    '--wildcards',
    ...wanted,
    '*/LICENSE.TXT',
  ]
  const { status, error } = spawnSync('tar', args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (error ?? status !== 0) throw new ToolchainError(`tar could not unpack ${archive}`)
}

/** The kernel's headers of a processor by themselves: musl has all else of its own. */
const kernelHeaders = (system, gnu) => {
  const folder = join(system, 'kernel')
  mkdirSync(folder)
  for (const name of ['linux', 'asm-generic'])
    symlinkSync(join('..', 'usr/include', name), join(folder, name))
  symlinkSync(join('..', 'usr/include', gnu, 'asm'), join(folder, 'asm'))
}

const GNU = { amd64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }

const SHORT = 16

/** Where the packages of a lock are in the cache. */
const places = (lock) => ({
  compiler: `prebuild-compiler-${digest(JSON.stringify(lock.compiler))}`,
  systems: Object.fromEntries(
    PROCESSORS.map((name) => [name, `prebuild-system-${name}-${digest(JSON.stringify(lock[name]))}`]),
  ),
  llvm: `prebuild-llvm-${lock.source[SOURCE].sha256.slice(0, SHORT)}`,
})

const allOf = ({ compiler, systems, llvm }) => [compiler, llvm, ...Object.values(systems)]

const folders = ({ compiler, systems, llvm }) => {
  const at = (name) => join(cacheFolder(), name)
  return {
    clang: join(at(compiler), `usr/lib/llvm-${CLANG}/bin`),
    libraries: join(at(compiler), 'usr/lib', GNU.amd64),
    systems: Object.fromEntries(Object.entries(systems).map(([name, place]) => [name, at(place)])),
    llvm: at(llvm),
  }
}

const fetchAll = async (policy, lists) => {
  const apts = PROCESSORS.map(
    (architecture, i) =>
      new Apt(join(lists, architecture), { suites: [SUITE], sources: i === 0, architecture }),
  )
  const [own] = apts
  for (const apt of apts) await apt.update()
  const machine = own.closure(COMPILER, COMPILER_NEEDS)
  const systems = apts.map((apt) => apt.closure(SYSTEM, /^$/))
  const found = lockOf(machine, systems, own.upstreamDigest(SOURCE))
  check(found, policy)

  const place = places(found)
  await cached(place.compiler, (folder) => own.unpack(machine, folder))
  for (const [i, name] of PROCESSORS.entries())
    await cached(place.systems[name], async (folder) => {
      await apts[i].unpack(systems[i], folder)
      kernelHeaders(folder, GNU[name])
    })
  await cached(place.llvm, async (folder) => {
    say('downloading the sources of LLVM, 164 MB, and unpacking its C++ library')
    const work = join(lists, 'source')
    mkdirSync(work)
    tar(await own.upstream(SOURCE, work), folder)
  })
  return place
}

/**
 * Everything, in the cache. `policy` is what becomes of packages that are not those of the lock: 'locked' refuses them,
 * 'update' writes them down, 'current' is for tests, which Debian's next release must not end.
 * @param {'locked' | 'update' | 'current'} policy
 */
export const toolchain = async (policy) => {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new ToolchainError('the binaries are made on Linux on x86-64')
  const locked = places(JSON.parse(readFileSync(LOCK, 'utf8')))
  // Their hashes were checked when they were unpacked.
  const there = allOf(locked).every((name) => existsSync(join(cacheFolder(), name)))
  if (policy !== 'update' && there) return folders(locked)
  const lists = mkdtempSync(join(tmpdir(), 'node-vfio-prebuild-'))
  try {
    return folders(await fetchAll(policy, lists))
  } finally {
    rmSync(lists, { recursive: true, force: true })
  }
}
