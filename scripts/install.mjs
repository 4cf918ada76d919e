// npm's install step: compiles the addon on Linux, and elsewhere says why it does not. Types and `node-vfio/host`
// work without it, so another platform is not an installation error.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

if (process.platform !== 'linux') {
  console.log(`node-vfio: VFIO is a Linux interface; the addon is not built on ${process.platform}`)
} else {
  // `npm rebuild` and `npm ci` put node-gyp on the PATH: the project's own or the one npm carries.
  const { status, error } = spawnSync('node-gyp', ['rebuild', '--jobs', 'max'], { stdio: 'inherit' })
  if (error) console.error(`node-vfio: node-gyp cannot be started: ${error.message}`)
  if (status !== 0) {
    const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    console.error(
      `node-vfio: building the addon needs Node.js ${engines.node}, python3, make and a C++20 compiler (gcc 11, clang 14)`,
    )
    process.exit(1)
  }
}
