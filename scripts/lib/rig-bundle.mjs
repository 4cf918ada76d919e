// The rig's tests as the rig runs them: each joined with what it imports, as the library is when it is published. In an emulated
// processor the compiler's 250 small modules take each test file, each Worker and each command that a test starts many seconds to load.

import { readdirSync, rmSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { rollup } from 'rollup'
import { libraryChunk, refuseWarnings } from './library-bundle.mjs'
import { ROOT } from './process.mjs'

const COMPILED = join(ROOT, 'out')
const JOINED = 'build-rig'
const TESTS = join('test', 'rig')

/** How a module names a file that it starts in a process or a Worker, or has loaded there. */
const NAMED = /new URL\('([^']+\.js)', import\.meta\.url\)|import\.meta\.dirname, '([^']+\.js)'/g

/**
 * Has each file that a module names in the bundle, where the module expects it: adds it to `files`, which are there already.
 * @param {Set<string>} files
 * @returns {import('rollup').Plugin}
 */
const withNamedFiles = (files) => ({
  name: 'with-named-files',
  transform(code, id) {
    for (const [, url, path] of code.matchAll(NAMED)) {
      const file = join(dirname(id), url ?? path)
      if (!file.startsWith(COMPILED + sep) || files.has(file)) continue
      files.add(file)
      this.emitFile({ type: 'chunk', id: file, fileName: relative(COMPILED, file) })
    }
  },
})

const bundle = async () => {
  const tests = readdirSync(join(COMPILED, TESTS), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => join(TESTS, name))
  const files = new Set(tests.map((name) => join(COMPILED, name)))
  const joined = await rollup({
    input: Object.fromEntries(tests.map((name) => [name.slice(0, -'.js'.length), join(COMPILED, name)])),
    external: (id) => !id.startsWith('.') && !id.startsWith('/'),
    plugins: [withNamedFiles(files)],
    onwarn: refuseWarnings,
  })
  rmSync(join(ROOT, JOINED), { recursive: true, force: true })
  await joined.write({
    dir: join(ROOT, JOINED),
    format: 'es',
    hoistTransitiveImports: false,
    // Each module is told its chunk, since rollup puts what a chunk needs and what has none into it. What nobody imports is a
    // test, or is started: it stays alone.
    manualChunks: (file, { getModuleInfo }) => {
      const path = relative(COMPILED, file)
      if (path.startsWith('..') || getModuleInfo(file)?.importers.length === 0) return undefined
      const [part, ...rest] = path.split(sep)
      // What tests share stays by itself, where it is: it names files beside it, and not all of it is for processes without ava.
      if (part !== 'ts') return path.slice(0, -'.js'.length)
      return join('ts', 'shared', libraryChunk(join(...rest)) ?? 'commands')
    },
    // What commands load as they need it has no folder in its name.
    chunkFileNames: ({ name }) => `${name.includes(sep) ? '' : 'ts/shared/'}[name]-[hash].js`,
  })
  await joined.close()
}

/** @type {Promise<void> | undefined} */
let made

/** Joins them, once in this process: they have been compiled by now. */
export const bundleRigTests = () => (made ??= bundle())

/** Where a compiled test file is, joined. */
export const bundled = (file) => file.replace(/^out\b/, JOINED)
