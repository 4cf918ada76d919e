// `npm run fuzz -- [--seed N] [--calls N] [--list]`: random calls of the whole public surface, on open devices in the rig, with
// an addon built with AddressSanitizer. `--host` does without devices and rig, `--plain` without the sanitizers.

import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build, configure } from './lib/native.mjs'
import { prepareAddon, prepareModules, prepareTypeScript } from './lib/prepare.mjs'
import { capture, findProgram, ROOT, run } from './lib/process.mjs'
import { say } from './lib/say.mjs'

const FOLDER = 'build-asan'
const RUN = join('test', 'fuzz', 'run.mjs')

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String((Date.now() % 1_000_000) + 1) },
    calls: { type: 'string', default: '100000' },
    timeout: { type: 'string', default: '3600' },
    list: { type: 'boolean', default: false },
    host: { type: 'boolean', default: false },
    plain: { type: 'boolean', default: false },
  },
})

prepareModules()
const env = {}
if (values.plain) {
  prepareAddon()
} else {
  for (const program of ['cmake', 'gcc']) {
    if (findProgram(program) === undefined) throw new Error(`${program} is missing; --plain does without`)
  }
  say(`building the addon with AddressSanitizer in ${FOLDER}`)
  const failure = configure(FOLDER, ['-DNODE_VFIO_SANITIZE=address']) ?? build(FOLDER, 'node_vfio')
  if (failure !== undefined) throw new Error(failure)
  env.NODE_VFIO_ADDON = join(ROOT, FOLDER, 'node_vfio.node')
  env.NODE_VFIO_PRELOAD = realpathSync(capture('gcc', ['-print-file-name=libasan.so']))
}
prepareTypeScript()

say(`fuzzing with seed ${values.seed}: --seed ${values.seed} --calls ${values.calls} does the same again`)
const args = [RUN, '--seed', values.seed, '--calls', values.calls, ...(values.list ? ['--list'] : [])]
if (values.host) {
  const failure = run(process.execPath, [...args, '--host'], { env: { ...process.env, ...env } })
  if (failure !== undefined) process.exitCode = 1
} else {
  const { runInRig } = await import('../rig/index.mjs')
  const { status } = await runInRig({
    command: [process.execPath, ...args],
    cwd: ROOT,
    env,
    timeout: Number(values.timeout),
  })
  process.exitCode = status
}
