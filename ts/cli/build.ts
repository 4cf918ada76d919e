// `vfio build`: compiles the native part where the package has no binary that fits, with node-gyp. It is compiled in a folder
// of its own: the package's may be read-only, and keeps no half of a build.
import { spawnSync } from 'node:child_process'
import {
  accessSync,
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import type { CliContext } from './context.js'
import { CliError } from './format.js'

export interface BuildOptions {
  /** Where the binary goes, instead of into the package. */
  readonly output?: string
}

const FILE = 'node_vfio.node'

/** node-gyp: the one that npm names, one that is installed, or the one that comes with npm. */
export function findNodeGyp(
  env: Readonly<Record<string, string | undefined>>,
  root: string,
): string | undefined {
  const given = env.npm_config_node_gyp
  if (given !== undefined && existsSync(given)) return given
  try {
    return createRequire(join(root, 'package.json')).resolve('node-gyp/bin/node-gyp.js')
  } catch {
    // npm has its own
  }
  const beside = dirname(dirname(realpathSync(process.execPath)))
  const npm = [
    join(beside, 'lib/node_modules/npm'),
    '/usr/share/nodejs/npm',
    '/usr/lib/node_modules/npm',
    ...(env.PATH ?? '').split(delimiter).map((folder) => join(folder, '../lib/node_modules/npm')),
  ]
  return npm.map((folder) => join(folder, 'node_modules/node-gyp/bin/node-gyp.js')).find(existsSync)
}

/** Node's own headers, where they came with it: nothing is downloaded then. */
function nodeFolder(): string | undefined {
  const folder = dirname(dirname(realpathSync(process.execPath)))
  return existsSync(join(folder, 'include/node/node_api.h')) ? folder : undefined
}

function target(root: string, { output }: BuildOptions): string {
  if (output !== undefined) return resolve(output)
  try {
    accessSync(root, constants.W_OK)
  } catch {
    throw new CliError(
      `The package's folder ${root} cannot be written to. Give the binary another place with --output FILE, and name it in NODE_VFIO_ADDON.`,
    )
  }
  return join(root, 'build', 'Release', FILE)
}

/** The sources, so that node-gyp finds them and what they include in a folder of their own. */
function prepare(folder: string, root: string): void {
  cpSync(join(root, 'native'), join(folder, 'native'), { recursive: true })
  writeFileSync(join(folder, 'binding.gyp'), '{ "includes": ["native/addon.gypi"] }\n')
  // What the build asks for by its name is a dependency of the package, not of this folder.
  const api = dirname(createRequire(join(root, 'package.json')).resolve('node-addon-api'))
  cpSync(api, join(folder, 'node_modules', 'node-addon-api'), { recursive: true, dereference: true })
}

/** Compiles it, with what node-gyp says shown as it comes. */
export function build(context: CliContext, options: BuildOptions): void {
  if (process.platform !== 'linux')
    throw new CliError(`VFIO is an interface of Linux: there is nothing to compile on ${process.platform}.`)
  const root = dirname(createRequire(import.meta.url).resolve('#package.json'))
  const place = target(root, options)
  const gyp = findNodeGyp(process.env, root)
  if (gyp === undefined)
    throw new CliError('node-gyp was not found: npm has one (npx vfio build), or npm install -g node-gyp.')
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'node-vfio-build-'))
  try {
    prepare(folder, root)
    const headers = nodeFolder()
    const args = ['rebuild', '--jobs', 'max', ...(headers === undefined ? [] : [`--nodedir=${headers}`])]
    const { status, error } = spawnSync(process.execPath, [gyp, ...args], { cwd: folder, stdio: 'inherit' })
    if (error !== undefined) throw new CliError(`node-gyp cannot be started: ${error.message}`)
    if (status !== 0)
      throw new CliError(
        'The build failed, see above. It needs python3, make and a C++20 compiler (gcc 11 or clang 16).',
      )
    mkdirSync(dirname(place), { recursive: true })
    // Put there whole, at once: a process that has the old one keeps it.
    const unfinished = `${place}.${String(process.pid)}`
    copyFileSync(join(folder, 'build', 'Release', FILE), unfinished)
    renameSync(unfinished, place)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  context.out(`${place}\n`)
  if (options.output !== undefined) context.out(`To use it: export NODE_VFIO_ADDON=${place}\n`)
}
