// `npm run test:package`: what `npm pack` makes is installed in an empty folder, imported, compiled against, and looked
// at by publint and are-the-types-wrong.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepareModules } from './lib/prepare.mjs'
import { ROOT, run } from './lib/process.mjs'
import { report, runSuite } from './lib/results.mjs'
import { say } from './lib/say.mjs'

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

// Of bench/, the sources that `vfio bench` compiles.
const FORBIDDEN =
  /^(test|bench\/(?!addon|baseline)|bench\/.*(?<!\.(cc|h))$|examples|scripts\/(?!install)|out|\.ci)/

const FOLDERS = ['scripts', 'bench', 'bench/addon', 'bench/baseline']

const contents = (folder) => {
  const files = readdirSync(join(folder, 'node_modules', name), { recursive: true, encoding: 'utf8' })
  const stray = files.filter(
    (file) => FORBIDDEN.test(file) && !file.startsWith('build') && !FOLDERS.includes(file),
  )
  if (stray.length > 0) return `the package holds ${stray.join(', ')}`
  const wanted = [
    'LICENSE',
    'README.md',
    'CHANGELOG.md',
    'binding.gyp',
    'dist/index.js',
    'bench/addon/addon.cc',
    'bench/baseline/measure.h',
    'native/sources.json',
    'schema/vfio-ls-1.json',
    'facts/schema.json',
    'facts/intel/issues.json',
  ]
  const missing = wanted.filter((file) => !files.includes(file))
  return missing.length === 0 ? undefined : `the package lacks ${missing.join(', ')}`
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
  const built = join(folder, 'node_modules', name, 'build')
  if (!existsSync(built)) return 'the installation built no addon'
  rmSync(built, { recursive: true })
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
    if (!check('npm pack', () => run('npm', ['pack', '--silent', '--pack-destination', folder]))) return
    const tarball = join(
      folder,
      readdirSync(folder).find((file) => file.endsWith('.tgz')),
    )
    const user = join(folder, 'user')
    mkdirSync(user)
    writeFileSync(join(user, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel', 'error', tarball]
    if (!check('installs in an empty folder', () => run('npm', install, { cwd: user }))) return
    check('holds what it needs and nothing else', () => contents(user))
    for (const entry of entries) {
      check(`import('${entry}')`, () => node(user, `await import('${entry}')`))
    }
    check('the addon loads', () => node(user, `import { EventFd } from '${name}'; new EventFd().close()`))
    check('vfio bench, with a limit', () => bench(user))
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
