// One binary: the addon and the C++ library, compiled for a target and linked into one file that needs the C library alone.
// The sources of a folder of native/ are one translation unit, as most of what each costs is the same headers. Ninja makes it.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ROOT, run } from '../lib/process.mjs'
import { PARTS, writeConfiguration } from './library.mjs'
import { writeStubs } from './stubs.mjs'
import { ToolchainError } from './toolchain.mjs'

const { resolve } = createRequire(import.meta.url)

const DEFINES = ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS', 'NDEBUG']

// The package carries four of them: what does not count in nanoseconds is made small.
const SMALL = '-Oz'
const FAST = '-O2'
const HOT = ['native/event', 'native/memory', 'native/support']

const COMMON = [
  // A seventh less: what folders share is there once, and what nobody calls is gone.
  '-flto',
  '-fPIC',
  '-fvisibility=hidden',
  '-fvisibility-inlines-hidden',
  '-ffunction-sections',
  '-fdata-sections',
  '-Wno-unused-command-line-argument',
]

const EXPORTS = '{ global: napi_register_module_v1; node_api_module_get_api_version_v1; local: *; };\n'

const LINK = [
  '-shared',
  '-nostdlib',
  '-Wl,--as-needed',
  '-Wl,--gc-sections',
  '-Wl,--icf=safe',
  '-Wl,--build-id=none',
  '-Wl,--strip-all',
  '-Wl,-z,relro,-z,now,-z,noexecstack,-z,nodelete',
]

/** The sources, by the folder of native/ that they are in. */
const units = () => {
  const folders = new Map()
  for (const source of JSON.parse(readFileSync(join(ROOT, 'native/sources.json'), 'utf8'))) {
    const folder = dirname(source)
    folders.set(folder, [...(folders.get(folder) ?? []), source])
  }
  return folders
}

/** The headers of this Node.js; what the addon takes of them has been the same since Node.js 18. */
const nodeHeaders = () => join(dirname(dirname(process.execPath)), 'include', 'node')

const systemHeaders = (target, system) =>
  target.libc === 'musl'
    ? [join(system, 'usr/include', target.triple), join(system, 'kernel')]
    : [join(system, 'usr/include', target.gnu), join(system, 'usr/include')]

/** Ninja and ccache go by times and contents: what is the same stays untouched. */
const writeIfChanged = (path, text) => {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text)
}

const quote = (text) => text.replaceAll('$', '$$').replaceAll(' ', '$ ')

class Ninja {
  #lines = ['ninja_required_version = 1.8']
  #folder

  constructor(folder) {
    this.#folder = folder
  }

  rule(name, command) {
    this.#lines.push(`rule ${name}`, `  command = ${command}`, `  description = ${name} $out`)
    if (command.includes('$out.d')) this.#lines.push('  depfile = $out.d', '  deps = gcc')
  }

  build(output, rule, inputs, variables = {}, implicit = []) {
    const also = implicit.length === 0 ? '' : ` | ${implicit.map(quote).join(' ')}`
    this.#lines.push(`build ${quote(output)}: ${rule} ${inputs.map(quote).join(' ')}${also}`)
    for (const [name, value] of Object.entries(variables)) this.#lines.push(`  ${name} = ${value}`)
    return output
  }

  run(output, jobs) {
    writeFileSync(join(this.#folder, 'build.ninja'), `${this.#lines.join('\n')}\n`)
    const problem = run('ninja', ['-C', this.#folder, '-j', String(jobs), '--quiet', output])
    if (problem !== undefined) throw new ToolchainError(problem)
  }
}

/** The C library of a target in the toolchain, as a file. */
export const libcOf = ({ libc, debian, triple, gnu }, { systems }) =>
  libc === 'musl'
    ? join(systems[debian], 'lib', triple, 'libc.so')
    : join(systems[debian], 'lib', gnu, 'libc.so.6')

/**
 * Compiles for a target; the path of what was made.
 * @param {import('./targets.mjs').Target} target
 */
export const compile = (target, { clang, libraries, systems, llvm }, jobs) => {
  const folder = join(ROOT, 'build-prebuild', target.name)
  mkdirSync(folder, { recursive: true })
  const system = systems[target.debian]
  const configuration = join(folder, 'include')
  writeConfiguration(configuration, target.libc)
  writeFileSync(join(folder, 'exports.map'), EXPORTS)

  const system_ = systemHeaders(target, system).flatMap((name) => ['-isystem', name])
  const cxxHeaders = [configuration, join(llvm, 'libcxx/include'), join(llvm, 'libcxxabi/include')]
  const cxx = [...cxxHeaders.flatMap((name) => ['-isystem', name]), ...system_]
  // Nothing of this machine's folders is in what is made: two machines make the same bytes.
  const maps = [
    [ROOT, '.'],
    [llvm, 'llvm'],
    [system, 'system'],
  ].map(([from, to]) => `-ffile-prefix-map=${from}=${to}`)
  const base = [
    `--target=${target.triple}`,
    ...COMMON,
    ...(target.debian === 'arm64' ? ['-mno-outline-atomics'] : []),
    ...maps,
    '-nostdlibinc',
  ]
  const environment = `env LD_LIBRARY_PATH=${libraries}`
  const ninja = new Ninja(folder)
  const compiler = `${environment} ${join(clang, 'clang')}`
  ninja.rule('compile', `${compiler} ${base.join(' ')} $flags -MMD -MF $out.d -c $in -o $out`)
  ninja.rule('assemble', `${compiler} --target=${target.triple} -c $in -o $out`)
  ninja.rule(
    'stub',
    `${compiler} --target=${target.triple} --ld-path=${join(clang, 'ld.lld')} -shared -nostdlib -Wl,-soname,$soname -Wl,--version-script,$map $in -o $out`,
  )
  ninja.rule(
    'link',
    `${compiler} --target=${target.triple} --ld-path=${join(clang, 'ld.lld')} ${LINK.join(' ')} -Wl,--version-script,exports.map $in $libc -o $out`,
  )

  const objects = []
  const api = [join(ROOT, 'native'), dirname(resolve('node-addon-api')), nodeHeaders()]
  const addonFlags = [
    '-std=c++20',
    '-fexceptions',
    ...DEFINES.map((name) => `-D${name}`),
    ...api.map((name) => `-I${name}`),
    ...cxx,
  ].join(' ')
  for (const [name, sources] of units()) {
    const unit = join(folder, `${name.replaceAll('/', '-')}.cc`)
    const text = sources.map((source) => `#include "${join(ROOT, source)}"\n`).join('')
    writeIfChanged(unit, text)
    const flags = `${HOT.includes(name) ? FAST : SMALL} ${addonFlags}`
    objects.push(ninja.build(`${unit}.o`, 'compile', [unit], { flags }))
  }
  for (const part of PARTS) {
    const includes = [...part.includes, `${part.folder}/include`].map((name) => `-I${join(llvm, name)}`)
    for (const source of part.sources) {
      const cpp = source.endsWith('.cpp')
      const flags = [
        SMALL,
        ...part.flags.filter((flag) => cpp || !/^-(std|fno-|fexc)/.test(flag)),
        ...(cpp && part.folder === 'libunwind' ? ['-std=c++17', '-fno-rtti'] : []),
        ...(target.libc === 'glibc' && part.folder === 'libcxxabi'
          ? ['-DHAVE___CXA_THREAD_ATEXIT_IMPL']
          : []),
        ...includes,
        ...(cpp ? cxx : system_),
      ].join(' ')
      const input = join(llvm, part.folder, 'src', source)
      objects.push(ninja.build(join(folder, part.folder, `${source}.o`), 'compile', [input], { flags }))
    }
  }

  const libc = []
  let byName = ''
  if (target.libc === 'musl') {
    // By its name: musl's has none of its own, and the path of this one would be what the binary asks for.
    byName = `-L${dirname(libcOf(target, { systems }))} -l:libc.so`
  } else {
    const floor = join(ROOT, 'scripts/prebuild/floor.cc')
    objects.push(
      ninja.build(join(folder, 'floor.o'), 'compile', [floor], {
        flags: [SMALL, '-std=c++20', ...cxx].join(' '),
      }),
    )
    const loader = target.debian === 'arm64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2'
    const real = ['libc.so.6', 'libm.so.6', loader].map((name) => join(system, 'lib', target.gnu, name))
    for (const { name, source, map } of writeStubs(folder, real)) {
      const object = ninja.build(`${source}.o`, 'assemble', [source])
      libc.push(ninja.build(join(folder, 'stubs', name), 'stub', [object], { soname: name, map }, [map]))
    }
  }
  const gcc = (name) => join(system, 'usr/lib/gcc', target.gnu, '12', name)
  const output = join(folder, 'node_vfio.node')
  const inputs = [gcc('crtbeginS.o'), ...objects, ...libc, gcc('libgcc.a'), gcc('crtendS.o')]
  ninja.build(output, 'link', inputs, { libc: byName })
  ninja.run(output, jobs)
  return output
}
