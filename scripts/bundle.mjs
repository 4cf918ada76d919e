// Joins the compiled library into one file per entry point and what they share. Loading some fifty small modules takes
// longer than all the rest of an import (measured: 41 ms against 17), and each keeps its own bookkeeping in memory. The
// declarations stay as the compiler wrote them.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { build } from 'esbuild'

const DIST = 'dist'
const names = ['index.js', 'host/index.js', 'kvm/index.js', 'merged/index.js', 'cli/main.js']
const entryPoints = names.map((name) => join(DIST, name))
const scripts = () =>
  readdirSync(DIST, { recursive: true })
    .filter((name) => name.endsWith('.js'))
    .map((name) => join(DIST, name))
const separate = scripts()

await build({
  entryPoints,
  outdir: DIST,
  allowOverwrite: true,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'warning',
})
for (const file of separate) if (!entryPoints.includes(file)) rmSync(file)

// A class that mentions itself is `var X = class _X` now, and errors name classes. esbuild's own way (keepNames) is a call
// for each function there is: so many at import that V8 optimizes it, for which it brings 4 MiB of itself into memory.
for (const file of scripts()) {
  const text = readFileSync(file, 'utf8')
  const renamed = new Set([...text.matchAll(/\b(\w+) = class _\1\b/g)].map(([, name]) => name))
  const mended = [...renamed].reduce(
    (rest, name) => rest.replaceAll(new RegExp(`\\b_${name}\\b`, 'g'), name),
    text,
  )
  if (renamed.size > 0) writeFileSync(file, mended)
}
