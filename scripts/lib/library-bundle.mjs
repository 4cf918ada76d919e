// What the bundles of the library have in common: the one that is published, and the one that the rig's tests run.

import { join } from 'node:path'

/** The modules that are imported or started by name, below ts/ and below dist/. */
export const libraryEntries = [
  'index',
  'drm/index',
  'host/index',
  'kvm/index',
  'merged/index',
  'vfio-user/index',
  'vmm/index',
  'cli/main',
]

/** Warnings of rollup's are errors, but for one: what TypeScript makes of `using` begins so, and does without. */
export const refuseWarnings = ({ code, message }) => {
  if (code !== 'THIS_IS_UNDEFINED') throw new Error(message)
}

// Few files, by who needs them: what only reads the host and the merged-driver report do without the rest.
const CHUNKS = {
  host: 'host',
  errors: 'host',
  'kvm-refusals': 'host',
  'user-refusals': 'host',
  validate: 'host',
  merged: 'merged',
  pci: 'pci',
  vmm: 'vmm',
}
/** Of vfio-user, what only servers need. */
const SERVING = ['index.js', 'server', 'broker']
/** What the commands load, they load as they need it. */
const AS_NEEDED = ['cli', 'measure']

/** The chunk that a module of the library belongs to, by its path; `undefined` where rollup decides. */
export const libraryChunk = (path) => {
  // Only changes of the host write to it, and start processes for that.
  if (path === join('host', 'io.js')) return 'merged'
  // Who only drives devices needs no server of one.
  if (SERVING.some((each) => path.startsWith(join('vfio-user', each)))) return 'vfio-user'
  const [part] = path.split(/[\\/.]/)
  return AS_NEEDED.includes(part) ? undefined : (CHUNKS[part] ?? 'vfio')
}
