// The package managers that people install with, as the test of the package uses them: each in an empty folder, by its own
// program, and how a program is then run there. The versions are those of test/clients/package-lock.json.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { capture, ROOT } from './process.mjs'

export const CLIENTS_FOLDER = 'test/clients'
const MODULES = join(ROOT, CLIENTS_FOLDER, 'node_modules')

const at = (...parts) => join(MODULES, ...parts)
const node = (...args) => [process.execPath, ...args]
// Some want a newer Node.js than the package itself does.
const newerNode = (...args) => [NODES[24], ...args]

// Where its own install script ran, it moved the program.
const bun = () =>
  String([at('@oven/bun-linux-x64/bin/bun'), at('bun/bin/bun.exe')].find((file) => existsSync(file)))

/** Other versions of Node.js, by their numbers. */
export const NODES = Object.fromEntries(
  [22, 24, 26].map((version) => [version, at(`n${version}`, 'bin', 'node')]),
)

const yarn = (nodeLinker) => ({
  name: `yarn 4, ${nodeLinker}`,
  before: (folder) => {
    const registry = capture('npm', ['config', 'get', 'registry'])
    const settings = {
      nodeLinker,
      enableTelemetry: false,
      enableGlobalCache: false,
      npmRegistryServer: registry,
    }
    // YAML takes JSON.
    writeFileSync(join(folder, '.yarnrc.yml'), JSON.stringify(settings))
    // An own lock file ends the search for a project above.
    writeFileSync(join(folder, 'yarn.lock'), '')
  },
  env: { YARN_ENABLE_IMMUTABLE_INSTALLS: 'false' },
  install: (tarball) => node(at('@yarnpkg/cli-dist/bin/yarn.js'), 'add', `node-vfio@file:${tarball}`),
  // Under pnp there is no node_modules, and only yarn's own node knows where packages are.
  program: (file) => node(at('@yarnpkg/cli-dist/bin/yarn.js'), 'node', file),
})

const npm = (name, cli) => ({
  name,
  install: (tarball) => newerNode(cli, 'install', '--prefer-offline', '--no-audit', '--no-fund', tarball),
  program: (file) => node(file),
})

/**
 * @typedef {object} Client
 * @property {string} name
 * @property {(folder: string) => void} [before] what its folder needs
 * @property {Record<string, string>} [env]
 * @property {(tarball: string) => string[]} install
 * @property {(file: string) => string[]} program
 */

/** @type {Client[]} */
export const CLIENTS = [
  npm('npm 12', at('npm12/bin/npm-cli.js')),
  {
    name: 'pnpm',
    install: (tarball) => newerNode(at('pnpm/bin/pnpm.mjs'), 'add', tarball),
    program: (file) => node(file),
  },
  yarn('node-modules'),
  yarn('pnp'),
  {
    name: 'bun',
    install: (tarball) => [bun(), 'add', tarball],
    program: (file) => node(file),
  },
]
