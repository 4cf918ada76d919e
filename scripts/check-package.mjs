// `npm run test:package`: what `npm pack` makes is installed in an empty folder without a compiler, by each package manager,
// imported, run on each Node.js, compiled against, and looked at by publint and are-the-types-wrong.

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CLIENTS, NODES } from './lib/clients.mjs'
import { prepareClients, prepareModules } from './lib/prepare.mjs'
import { capture, ROOT, run } from './lib/process.mjs'
import { report, runSuite } from './lib/results.mjs'
import { say } from './lib/say.mjs'
import { TARGETS } from './prebuild/targets.mjs'

const modules = join(ROOT, 'node_modules')
const { name, exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const entries = Object.keys(exports)
  .filter((path) => path !== './package.json')
  .map((path) => name + path.slice(1))

/** Runs a piece of an ES module in the folder where the package is installed. */
const node = (folder, source) =>
  run(process.execPath, ['--input-type=module', '--eval', source], { cwd: folder })

const EXPECT_REMEDY = `
  await import('${name}/host')
  const { EventFd } = await import('${name}')
  let thrown
  try {
    new EventFd()
  } catch (error) {
    thrown = error
  }
  if (thrown === undefined) throw new Error('new EventFd() worked without the addon')
  if (typeof thrown.remedy !== 'string' || thrown.remedy === '') throw thrown
`

const FAKE_PLATFORM = `Object.defineProperty(process, 'platform', { value: 'darwin' })`

/** Compiles a file that imports every entry; `any` instead of types would leave its expected errors out. */
const compile = (folder, moduleResolution) => {
  const uses = entries.map(
    (entry, i) =>
      `import * as m${i} from '${entry}'\n// @ts-expect-error\nexport const n${i}: number = m${i}\n`,
  )
  writeFileSync(join(folder, 'types.ts'), uses.join('\n'))
  const options = {
    target: 'es2022',
    module: moduleResolution === 'bundler' ? 'esnext' : moduleResolution,
    moduleResolution,
    strict: true,
    noEmit: true,
    typeRoots: [join(modules, '@types')],
    types: ['node'],
  }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: ['types.ts'] }),
  )
  return run(process.execPath, [join(modules, 'typescript', 'bin', 'tsc')], { cwd: folder })
}

// Of bench/, the sources that `vfio bench` compiles. A binding.gyp at the top makes package managers compile.
const FORBIDDEN =
  /^(test|bench\/(?!addon|baseline)|bench\/.*(?<!\.(cc|h))$|examples|scripts|out|build|\.ci|binding\.gyp)/

const FOLDERS = ['bench', 'bench/addon', 'bench/baseline']

const BINARIES = TARGETS.map(({ name: target }) => `prebuilds/${target}/node_vfio.node`)

const contents = (folder) => {
  const place = join(folder, 'node_modules', name)
  const files = readdirSync(place, { recursive: true, encoding: 'utf8' })
  const stray = files.filter((file) => FORBIDDEN.test(file) && !FOLDERS.includes(file))
  if (stray.length > 0) return `the package holds ${stray.join(', ')}`
  const wanted = [
    'LICENSE',
    'README.md',
    'CHANGELOG.md',
    'dist/index.js',
    'bench/addon/addon.cc',
    'bench/baseline/measure.h',
    'native/addon.gypi',
    'native/sources.json',
    'schema/vfio-ls-1.json',
    'facts/schema.json',
    'facts/intel/issues.json',
    ...BINARIES,
  ]
  const missing = wanted.filter((file) => !files.includes(file))
  if (missing.length > 0) return `the package lacks ${missing.join(', ')}`
  const { scripts } = JSON.parse(readFileSync(join(place, 'package.json'), 'utf8'))
  const run = ['preinstall', 'install', 'postinstall'].find((script) => script in scripts)
  return run && `the package has the install script ${run}`
}

/** Bytes: what everyone downloads. */
const MOST = 2 * 1024 * 1024

const small = (tarball) => {
  const { size } = statSync(tarball)
  say(`the package has ${size} bytes`)
  return size <= MOST ? undefined : `${size} bytes, more than ${MOST}`
}

/** A PATH that has node, and neither a compiler nor Python. */
const barePath = (folder) => {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const program of ['sh', 'env', 'uname']) symlinkSync(`/bin/${program}`, join(bin, program))
  symlinkSync(process.execPath, join(bin, 'node'))
  return bin
}

// The addon, and an event loop that it wakes.
const PROGRAM = `
  import { EventFd, SignalPoller } from '${name}'
  const eventfd = new EventFd()
  const poller = new SignalPoller()
  const count = await new Promise((resolve) => {
    poller.add(eventfd, resolve)
    eventfd.signal(3)
    setTimeout(resolve, 20_000, 'nothing').unref()
  })
  poller.close()
  eventfd.close()
  if (count !== 3) throw new Error('the poller gave ' + count)
`

/** Installs with a package manager and runs the program; how long the first took is said. */
const byClient = (client, tarball, folder, PATH) => {
  const place = join(folder, `client-${client.name.replaceAll(/\W+/g, '-')}`)
  mkdirSync(place)
  writeFileSync(join(place, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }))
  writeFileSync(join(place, 'program.mjs'), PROGRAM)
  client.before?.(place)
  const options = { cwd: place, env: { ...process.env, PATH, HOME: folder, ...client.env } }
  const exec = ([program, ...args]) => run(program, args, options)
  const started = performance.now()
  const problem = exec(client.install(tarball))
  if (problem !== undefined) return problem
  say(`${client.name}: installed in ${((performance.now() - started) / 1000).toFixed(1)} s`)
  return exec(client.program(join(place, 'program.mjs')))
}

/** The code away from its package, as in a bundle: the error says so. */
const bundled = (folder) => {
  const place = join(folder, 'bundle')
  cpSync(join(folder, 'user', 'node_modules', name, 'dist'), place, { recursive: true })
  writeFileSync(join(place, 'package.json'), JSON.stringify({ type: 'module' }))
  const script = `
    const { EventFd } = await import(${JSON.stringify(join(place, 'index.js'))})
    let said
    try { new EventFd() } catch (error) { said = error.remedy }
    if (!/bundled/.test(said)) throw new Error(String(said))
    process.env.NODE_VFIO_ADDON = ${JSON.stringify(join(folder, 'user', 'node_modules', name, BINARIES[0]))}
    new EventFd().close()`
  return node(place, script)
}

/** A bundle that leaves the package out. */
const rolledUp = (user) => {
  const rollup = join(modules, 'rollup', 'dist', 'bin', 'rollup')
  const args = ['program.mjs', '--external', name, '--format', 'es', '--file', 'bundle.mjs', '--silent']
  return (
    run(process.execPath, [rollup, ...args], { cwd: user }) ??
    run(process.execPath, ['bundle.mjs'], { cwd: user })
  )
}

const NOBODY = 65534

/** As a user who may write nothing of it, with the doctor's finding. */
const asNobody = (user) => {
  const main = join(user, 'node_modules', name, 'dist', 'cli', 'main.js')
  const script = `
    const { execFileSync } = await import('node:child_process')
    const out = execFileSync(process.execPath, [${JSON.stringify(main)}, 'doctor', '--json'], { encoding: 'utf8' })
    const { level } = JSON.parse(out).findings.find(({ id }) => id === 'addon')
    if (level !== 'ok') throw new Error(out)`
  const ids = process.getuid() === 0 ? { uid: NOBODY, gid: NOBODY } : {}
  return run(process.execPath, ['--input-type=module', '--eval', script], { cwd: user, ...ids })
}

/** With its limits, compiled from the sources that came with the package. */
const bench = (folder) => {
  const main = join(folder, 'node_modules', name, 'dist', 'cli', 'main.js')
  const script = `
    const { spawnSync } = await import('node:child_process')
    const args = [${JSON.stringify(main)}, 'bench', '--only', 'register.read32', '--runs', '3', '--json']
    const env = { ...process.env, XDG_CACHE_HOME: ${JSON.stringify(join(folder, 'cache'))} }
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env })
    if (status !== 0) throw new Error(stderr)
    const [row] = JSON.parse(stdout).rows
    if (!(row.ratioToLimit > 0)) throw new Error(row.reason)`
  return node(folder, script)
}

const removeAddon = (folder) => {
  const place = join(folder, 'node_modules', name)
  if (existsSync(join(place, 'build'))) return 'the installation compiled something'
  rmSync(join(place, 'prebuilds'), { recursive: true })
  return undefined
}

const main = async (results) => {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-package-'))
  const check = (title, body) => {
    say(title)
    const problem = body()
    if (problem === undefined) results.pass()
    else results.fail(`${title} (${problem.replaceAll(folder, '.')})`)
    return problem === undefined
  }
  try {
    prepareModules()
    prepareClients()
    if (!check('the binaries', () => run(process.execPath, ['scripts/prebuild.mjs', '--current']))) return
    const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder]
    if (!check('npm pack', () => run('npm', ['run', '--silent', 'build:ts']) ?? run('npm', pack))) return
    const tarball = join(
      folder,
      readdirSync(folder).find((file) => file.endsWith('.tgz')),
    )
    check('is small', () => small(tarball))
    // For others to read.
    chmodSync(folder, 0o755)
    const PATH = barePath(folder)
    const user = join(folder, 'user')
    mkdirSync(user)
    writeFileSync(join(user, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel', 'error', tarball]
    const bare = { cwd: user, env: { ...process.env, PATH } }
    const npm = String(capture('sh', ['-c', 'command -v npm']))
    if (!check('installs in an empty folder, without a compiler', () => run(npm, install, bare))) return
    check('holds what it needs and nothing else', () => contents(user))
    for (const entry of entries) {
      check(`import('${entry}')`, () => node(user, `await import('${entry}')`))
    }
    check('the addon loads', () => node(user, `import { EventFd } from '${name}'; new EventFd().close()`))
    check('vfio bench, with a limit', () => bench(user))
    writeFileSync(join(user, 'program.mjs'), PROGRAM)
    for (const [version, program] of Object.entries(NODES))
      check(`runs on Node.js ${version}`, () => run(program, ['program.mjs'], { cwd: user }))
    const permitted = ['--permission', '--allow-addons', '--allow-fs-read=*', 'program.mjs']
    check('runs under --permission', () => run(NODES[24], permitted, { cwd: user }))
    check('vfio doctor, as a user without rights', () => asNobody(user))
    check('bundled by rollup, as external', () => rolledUp(user))
    check('bundled away, an error with a remedy', () => bundled(folder))
    for (const client of CLIENTS)
      check(`installs with ${client.name}`, () => byClient(client, tarball, folder, PATH))
    for (const way of ['nodenext', 'bundler']) check(`types under ${way}`, () => compile(user, way))
    const strict = ['run', tarball, '--strict', '--level', 'warning']
    check('publint', () => run(process.execPath, [join(modules, 'publint', 'src', 'cli.js'), ...strict]))
    const attw = join(modules, '@arethetypeswrong', 'cli', 'dist', 'index.js')
    check('are the types wrong', () =>
      run(process.execPath, [attw, tarball, '--profile', 'esm-only', '--no-emoji']),
    )
    check('on another platform, an error with a remedy', () => node(user, FAKE_PLATFORM + EXPECT_REMEDY))
    check('the addon can be removed', () => removeAddon(user))
    check('without the addon, an error with a remedy', () => node(user, EXPECT_REMEDY))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

report([await runSuite('package', main)])
