// Joins the compiled library into one file per entry point and what they share. Loading some fifty small modules takes
// longer than all the rest of an import (measured: 41 ms against 17), and each keeps its own bookkeeping in memory. The
// declarations stay as the compiler wrote them.
//
// Constants of modules stay constants: V8 builds their values into compiled code, and an access to a register through
// variables instead takes a quarter longer. Classes keep their names, which errors show. Comments stay out: they are a quarter of
// what everyone would download, and of the text that V8 keeps. The declarations have them.
import { readdirSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { rollup } from 'rollup'
import ts from 'typescript'
import { libraryChunk, libraryEntries, refuseWarnings } from './lib/library-bundle.mjs'

const DIST = 'dist'
const separate = readdirSync(DIST, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.js'))
  .map((name) => join(DIST, name))

const withoutComments = {
  name: 'without-comments',
  renderChunk: (code) =>
    ts.transpileModule(code, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, removeComments: true },
    }).outputText,
}

const bundle = await rollup({
  input: Object.fromEntries(libraryEntries.map((name) => [name, join(DIST, `${name}.js`)])),
  // Everything that is not ours stays where it is installed.
  external: (id) => !id.startsWith('.') && !id.startsWith('/'),
  onwarn: refuseWarnings,
})
const { output } = await bundle.write({
  dir: DIST,
  format: 'es',
  // An entry need not load what its parts load anyway.
  hoistTransitiveImports: false,
  chunkFileNames: 'shared/[name]-[hash].js',
  manualChunks: (file) => libraryChunk(relative(DIST, file)),
  plugins: [withoutComments],
})
await bundle.close()
const made = output.map(({ fileName }) => join(DIST, fileName))
for (const file of separate) if (!made.includes(file)) rmSync(file)
