// `npm run prebuild`: the binaries that the package carries, one for each processor and C library, in prebuilds/. Made anew only
// where sources have changed; a Debian on x86-64 makes them all, and each machine the same bytes.
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { RigError } from '../rig/index.mjs'
import { aptInstall } from './lib/apt.mjs'
import { findProgram, ROOT } from './lib/process.mjs'
import { say } from './lib/say.mjs'
import { compile, libcOf } from './prebuild/compile.mjs'
import { faults, kilobytes } from './prebuild/inspect.mjs'
import { TARGETS } from './prebuild/targets.mjs'
import { toolchain, ToolchainError } from './prebuild/toolchain.mjs'

const HELP = `npm run prebuild -- [options] [TARGET...]

  TARGET          of ${TARGETS.map(({ name }) => name).join(', ')} (default: all)
  --update        write what Debian has now into scripts/prebuild/toolchain.json, and build with it
  --current       build with what Debian has now, whatever toolchain.json names: for tests, not for what is published
  --jobs N        compilers at a time (default: one for each processor)
  --help          this text`

const main = async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      current: { type: 'boolean' },
      help: { type: 'boolean' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      update: { type: 'boolean' },
    },
  })
  if (values.help) {
    console.log(HELP)
    return
  }
  const unknown = positionals.find((name) => TARGETS.every((target) => target.name !== name))
  if (unknown !== undefined) throw new ToolchainError(`there is no target ${unknown}\n${HELP}`)
  if (!/^[1-9]\d?$/.test(values.jobs))
    throw new ToolchainError(`--jobs is a number from 1 to 99, not '${values.jobs}'`)
  if (findProgram('ninja') === undefined) {
    const problem = aptInstall(['ninja-build'], 'the binaries are built with it')
    if (problem !== undefined) throw new ToolchainError(problem)
  }
  const tools = await toolchain(values.update ? 'update' : values.current ? 'current' : 'locked')
  for (const target of TARGETS.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
    say(`building ${target.name}`)
    const made = compile(target, tools, Number(values.jobs))
    const wrong = faults(made, target, libcOf(target, tools))
    if (wrong.length > 0)
      throw new ToolchainError(`${target.name} must not be shipped:\n  ${wrong.join('\n  ')}`)
    const folder = join(ROOT, 'prebuilds', target.name)
    mkdirSync(folder, { recursive: true })
    copyFileSync(made, join(folder, 'node_vfio.node'))
    const sum = createHash('sha256').update(readFileSync(made)).digest('hex')
    say(`prebuilds/${target.name}/node_vfio.node: ${kilobytes(made)} KiB, SHA-256 ${sum}`)
  }
}

try {
  await main()
} catch (error) {
  if (!(error instanceof ToolchainError) && !(error instanceof RigError)) throw error
  console.error(`prebuild: ${error.message}`)
  process.exitCode = 1
}
