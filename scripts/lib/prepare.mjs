// What tests and the demo need before they run, done only when it is missing or older than what it is made from:
// node_modules, the addon, compiled TypeScript, the demo's C++ program.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { aptUnpack, installPrograms } from './apt.mjs'
import { CLIENTS_FOLDER } from './clients.mjs'
import { ROOT, run } from './process.mjs'
import { say } from './say.mjs'

const at = (...parts) => join(ROOT, ...parts)
const json = (path) => JSON.parse(readFileSync(path, 'utf8'))

export class PrepareError extends Error {}

// Generous, for slow lines and slow machines: it only has to end what would never end.
const STEP_TIMEOUT_MS = 20 * 60_000

const must = (program, ...args) => {
  const problem = run(program, args, { timeout: STEP_TIMEOUT_MS })
  if (problem !== undefined) throw new PrepareError(problem)
}

const whyInstall = (folder) => {
  const installed = at(folder, 'node_modules', '.package-lock.json')
  if (!existsSync(installed)) return 'node_modules is missing'
  const present = json(installed).packages
  const wanted = Object.entries(json(at(folder, 'package-lock.json')).packages)
  const stale = wanted.find(
    ([path, { version, optional }]) => path !== '' && !optional && present[path]?.version !== version,
  )
  return stale && `${stale[0]} is not what package-lock.json asks for`
}

/** `npm ci` when needed; it builds the addon too. */
export const prepareModules = () => {
  const why = whyInstall('.')
  if (!why) return
  say(`npm ci, because ${why}: downloads the development tools and builds the addon (about a minute)`)
  must('npm', 'ci', '--no-audit', '--no-fund')
}

/** The same in bench/. Whoever can do without catches the PrepareError. */
export const prepareBenchModules = () => {
  const why = whyInstall('bench')
  if (!why) return
  say(
    `npm ci in bench/, because ${why}: koffi and epoll, to measure against (epoll is compiled), and echarts, for reports`,
  )
  const problem = run('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: at('bench'),
    timeout: STEP_TIMEOUT_MS,
  })
  if (problem !== undefined) throw new PrepareError(problem)
}

/** Package managers and runtimes, for the test of the package. Their own install scripts download nothing that is needed. */
export const prepareClients = () => {
  const why = whyInstall(CLIENTS_FOLDER)
  if (!why) return
  say(`npm ci in ${CLIENTS_FOLDER}/, because ${why}: downloads package managers and runtimes, 250 MB`)
  const problem = run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: at(CLIENTS_FOLDER),
    timeout: STEP_TIMEOUT_MS,
  })
  if (problem !== undefined) throw new PrepareError(problem)
}

/** ACPICA's compiler, by which a unit test has tables of node-vfio/vmm read back. Whoever can do without catches the PrepareError. */
export const prepareAcpica = () => {
  const problem = installPrograms(
    { iasl: 'acpica-tools' },
    "ACPICA's compiler reads the ACPI tables of node-vfio/vmm back",
  )
  if (problem !== undefined) throw new PrepareError(problem)
}

const SCHEMAS = 'build-schemas'
/** What tells that a package is unpacked there: its schemas. */
const SCHEMA_PACKAGES = {
  libvirt0: 'usr/share/libvirt/schemas/domain.rng',
  'golang-github-container-orchestrated-devices-container-device-interface-dev':
    'usr/share/gocode/src/github.com/container-orchestrated-devices/container-device-interface/schema/schema.json',
}

/** Schemas of libvirt and CDI, by which a unit test checks what `vfio use` prints. Whoever can do without catches the PrepareError. */
export const prepareSchemas = () => {
  const why = 'a unit test checks what vfio use prints by the schemas of libvirt and CDI'
  const missing = Object.entries(SCHEMA_PACKAGES).filter(([, file]) => !existsSync(at(SCHEMAS, file)))
  const packages = missing.map(([name]) => name)
  const problem =
    (packages.length === 0 ? undefined : aptUnpack(packages, at(SCHEMAS), why)) ??
    installPrograms({ xmllint: 'libxml2-utils' }, why)
  if (problem !== undefined) throw new PrepareError(problem)
}

const newest = (path) => {
  const status = statSync(path)
  if (!status.isDirectory()) return status.mtimeMs
  return Math.max(status.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))))
}

/** Why a file has to be made again from its sources; undefined when it has not. All of them from the project's folder. */
const whyMake = (file, sources) => {
  if (!existsSync(at(file))) return `${file} is missing`
  const made = statSync(at(file)).mtimeMs
  const changed = sources.find((source) => newest(at(source)) > made)
  return changed && `${changed} has changed`
}

/** Builds the addon when it is missing or older than native/. */
export const prepareAddon = () => {
  if (process.platform !== 'linux') return
  const why = whyMake('build/Release/node_vfio.node', ['native', 'binding.gyp'])
  if (!why) return
  say(`building the addon with node-gyp: ${why}`)
  // Through npm, which hands its settings (a local `nodedir`, a proxy) to node-gyp.
  must('npm', 'run', '--silent', 'build:native')
}

/** Compiles ts/ and test/ into out/. */
export const prepareTypeScript = () => {
  say('compiling TypeScript into out/')
  must('npm', 'run', '--silent', 'build:test')
}

/** Compiles ts/ into dist/, as it is published. */
export const prepareLibrary = () => {
  const why = whyMake('dist/index.js', ['ts', 'tsconfig.json', 'tsconfig.build.json', 'scripts/bundle.mjs'])
  if (!why) return
  say(`compiling the library into dist/: ${why}`)
  must('npm', 'run', '--silent', 'build:ts')
}

/** Where the demo's programs are. */
export const DEMO = {
  program: 'build-demo/examples/edu-demo.js',
  baseline: 'build-demo/edu-irq',
}

const BASELINE_SOURCE = 'bench/baseline/edu-irq.cc'
const BASELINE_FLAGS = ['-O2', '-std=c++20', '-Wall', '-Wextra', '-Werror']

/** Where the VMM is. */
export const VMM_PROGRAM = 'build-demo/examples/vmm/main.js'

/** Who serves the example's devices in user space. */
export const USER_DEVICES_PROGRAM = 'build-demo/examples/devices/main.js'

/** Compiles examples/ against dist/. */
export const prepareExamples = () => {
  const why = whyMake(VMM_PROGRAM, ['examples', 'tsconfig.json', 'tsconfig.examples.json'])
  if (!why) return
  say(`compiling the examples into build-demo/: ${why}`)
  must('npm', 'run', '--silent', 'build:examples')
}

/** Compiles the demo, and the C++ program that the demo compares itself with. */
export const prepareDemo = () => {
  prepareExamples()
  const baseline = whyMake(DEMO.baseline, [BASELINE_SOURCE])
  if (baseline) {
    say(`compiling the C++ comparison into build-demo/: ${baseline}`)
    mkdirSync(dirname(at(DEMO.baseline)), { recursive: true })
    must(process.env.CXX ?? 'g++', ...BASELINE_FLAGS, BASELINE_SOURCE, '-o', DEMO.baseline)
  }
}
