// What tests need before they run, done only when it is missing or older than what it is made from: node_modules, the
// addon, compiled TypeScript.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, run } from './process.mjs'
import { say } from './say.mjs'

const at = (...parts) => join(ROOT, ...parts)
const json = (path) => JSON.parse(readFileSync(path, 'utf8'))

export class PrepareError extends Error {}

const must = (problem) => {
  if (problem !== undefined) throw new PrepareError(problem)
}

const whyInstall = () => {
  const installed = at('node_modules', '.package-lock.json')
  if (!existsSync(installed)) return 'node_modules is missing'
  const present = json(installed).packages
  const wanted = Object.entries(json(at('package-lock.json')).packages)
  const stale = wanted.find(
    ([path, { version, optional }]) => path !== '' && !optional && present[path]?.version !== version,
  )
  return stale && `${stale[0]} is not what package-lock.json asks for`
}

/** `npm ci` when needed; it builds the addon too. */
export const prepareModules = () => {
  const why = whyInstall()
  if (!why) return
  say(`npm ci, because ${why}: downloads the development tools and builds the addon (about a minute)`)
  must(run('npm', ['ci', '--no-audit', '--no-fund']))
}

const newest = (path) => {
  const status = statSync(path)
  if (!status.isDirectory()) return status.mtimeMs
  return Math.max(status.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))))
}

/** Builds the addon when it is missing or older than native/. */
export const prepareAddon = () => {
  if (process.platform !== 'linux') return
  const addon = at('build', 'Release', 'node_vfio.node')
  const built = existsSync(addon) ? statSync(addon).mtimeMs : 0
  const changed = Math.max(newest(at('native')), newest(at('binding.gyp')))
  if (built >= changed) return
  say(`building the addon with node-gyp: ${built === 0 ? 'there is none yet' : 'native/ has changed'}`)
  // Through npm, which hands its settings (a local `nodedir`, a proxy) to node-gyp.
  must(run('npm', ['run', '--silent', 'build:native']))
}

/** Compiles ts/ and test/ into out/. */
export const prepareTypeScript = () => {
  say('compiling TypeScript into out/')
  must(run('npm', ['run', '--silent', 'build:test']))
}
