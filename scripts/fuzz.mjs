// `npm run fuzz -- [--seed N] [--calls N] [--kernel stock|built|both]`: random calls of the whole public surface, on open devices
// in the rig, with an addon built with AddressSanitizer. `--host` does without devices and rig, `--plain` without the sanitizers;
// `--processes N` in so many at once, each with devices of its own; `--no-workers` and `--no-effects` leave out the other
// Workers, and what getters, proxies and handlers do. `--list` names the members. With `--host` the messages of vfio-user follow, both
// ends at once: `--messages N` is for how many calls (0: none).

import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build, configure } from './lib/native.mjs'
import { prepareAddon, prepareModules, prepareTypeScript } from './lib/prepare.mjs'
import { capture, findProgram, ROOT, run } from './lib/process.mjs'
import { say } from './lib/say.mjs'

const FOLDER = 'build-asan'
const RUN = join('test', 'fuzz', 'run.mjs')
const KERNELS = { stock: ['stock'], built: ['built'], both: ['stock', 'built'] }

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String((Date.now() % 1_000_000) + 1) },
    calls: { type: 'string', default: '100000' },
    messages: { type: 'string', default: '500' },
    kernel: { type: 'string', default: 'both' },
    processes: { type: 'string' },
    timeout: { type: 'string', default: '7200' },
    list: { type: 'boolean', default: false },
    host: { type: 'boolean', default: false },
    plain: { type: 'boolean', default: false },
    'no-workers': { type: 'boolean', default: false },
    'no-effects': { type: 'boolean', default: false },
  },
})
const kernels = KERNELS[values.kernel]
if (kernels === undefined)
  throw new RangeError(`--kernel is one of ${Object.keys(KERNELS).join(', ')}, not '${values.kernel}'`)
// As many as a machine of the rig has processors.
const processes = values.processes ?? (values.host ? '1' : '2')

prepareModules()
/** @type {Record<string, string>} */
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

const messages = values.host && !values.list ? ['--messages', values.messages] : []
const flags = ['list', 'host', 'no-workers', 'no-effects'].filter((name) => values[name])
const args = [
  ...[RUN, '--seed', values.seed, '--calls', values.calls, '--processes', processes, ...messages],
  ...flags.map((name) => `--${name}`),
]
const again = [`--seed ${values.seed} --calls ${values.calls} --processes ${processes}`, ...messages].join(
  ' ',
)
say(`fuzzing with seed ${values.seed}: ${again} does the same again`)

const inRig = async (kernel) => {
  const { runInRig } = await import('../rig/index.mjs')
  const { status } = await runInRig({
    kernel,
    command: [process.execPath, ...args],
    cwd: ROOT,
    env,
    timeout: Number(values.timeout),
  })
  if (status !== 0)
    say(`fuzzing on the ${kernel} kernel failed with status ${status}: ${again} --kernel ${kernel}`)
  return status
}

if (values.host) {
  const failure = run(process.execPath, args, { env: { ...process.env, ...env } })
  if (failure !== undefined) process.exitCode = 1
} else {
  for (const kernel of kernels) {
    say(`the rig's ${kernel} kernel`)
    process.exitCode = (await inRig(kernel)) || process.exitCode
  }
}
