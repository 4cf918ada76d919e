import { ownTemporaryFolder } from './scripts/lib/scratch.mjs'

// Of tests that are killed nothing stays. ava listens for SIGINT itself.
ownTemporaryFolder('tests', ['SIGTERM'])

export default {
  // Those of the rig run as scripts/lib/rig-bundle.mjs joins them.
  files: ['{out,build-rig}/test/**/*.test.js'],
  // A process per file: a crash of native code takes one file with it, and descriptors and signals are its own.
  workerThreads: false,
  nodeArguments: ['--enable-source-maps'],
  require: ['./test/record/attribute.mjs'],
}
