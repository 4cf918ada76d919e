// Joins the compiled library into one file per entry point and what they share. Loading some fifty small modules takes
// longer than all the rest of an import (measured: 41 ms against 17), and each keeps its own bookkeeping in memory. The
// declarations stay as the compiler wrote them.
//
// Constants of modules stay constants: V8 builds their values into compiled code, and an access to a register through
// variables instead takes a quarter longer. Classes keep their names, which errors show.
import { readdirSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { rollup } from 'rollup'

const DIST = 'dist'
const names = [
  'index',
  'drm/index',
  'host/index',
  'kvm/index',
  'merged/index',
  'vfio-user/index',
  'vmm/index',
  'cli/main',
]
const separate = readdirSync(DIST, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.js'))
  .map((name) => join(DIST, name))

const bundle = await rollup({
  input: Object.fromEntries(names.map((name) => [name, join(DIST, `${name}.js`)])),
  // Everything that is not ours stays where it is installed.
  external: (id) => !id.startsWith('.') && !id.startsWith('/'),
  onwarn: ({ code, message }) => {
    // What TypeScript makes of `using` begins so, and does without.
    if (code !== 'THIS_IS_UNDEFINED') throw new Error(message)
  },
})
// Few files, by who needs them: what only reads the host and the merged-driver report do without the rest.
const SHARED = {
  host: 'host',
  errors: 'host',
  'kvm-refusals': 'host',
  'user-refusals': 'host',
  validate: 'host',
  merged: 'merged',
  pci: 'pci',
}
/** Of vfio-user, what only servers need. */
const SERVING = ['index.js', 'server', 'broker']
/** What the commands load, they load as they need it. */
const AS_NEEDED = ['cli', 'measure']

const shared = (file) => {
  const path = relative(DIST, file)
  // Only changes of the host write to it, and start processes for that.
  if (path === join('host', 'io.js')) return 'merged'
  // Who only drives devices needs no server of one.
  if (SERVING.some((each) => path.startsWith(join('vfio-user', each)))) return 'vfio-user'
  // The parts of a PC are for who writes a VMM.
  if (path.startsWith('vmm')) return 'vmm'
  const [part] = path.split(/[\\/.]/)
  return AS_NEEDED.includes(part) ? undefined : (SHARED[part] ?? 'vfio')
}

const { output } = await bundle.write({
  dir: DIST,
  format: 'es',
  // An entry need not load what its parts load anyway.
  hoistTransitiveImports: false,
  chunkFileNames: 'shared/[name]-[hash].js',
  manualChunks: shared,
})
await bundle.close()
const made = output.map(({ fileName }) => join(DIST, fileName))
for (const file of separate) if (!made.includes(file)) rmSync(file)
