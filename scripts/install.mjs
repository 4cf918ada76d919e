// What `npm ci` does in a clone, and `npm run build:native`: compiles the addon on Linux, and elsewhere says why it does
// not. Whoever installs the package gets a binary with it, and compiles with `vfio build` if at all.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

// A warning of another compiler ends nobody's build but that of CI.
const env = { ...process.env, ...(process.env.CI ? { NODE_VFIO_WERROR: '1' } : {}) }

if (process.platform !== 'linux') {
  console.log(`node-vfio: VFIO is a Linux interface; the addon is not built on ${process.platform}`)
} else if (!['pack', 'publish'].includes(process.env.npm_command)) {
  // npm puts node-gyp on the PATH: the project's own.
  const { status, error } = spawnSync('node-gyp', ['rebuild', '--jobs', 'max'], { stdio: 'inherit', env })
  if (error) console.error(`node-vfio: node-gyp cannot be started: ${error.message}`)
  if (status !== 0) {
    const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    console.error(
      `node-vfio: building the addon needs Node.js ${engines.node}, python3, make and a C++20 compiler (gcc 11, clang 14)`,
    )
    process.exit(1)
  }
}
