// `npm test`: sets up what is missing, runs every suite, sums up. Runs on a fresh clone: only Node's own modules are
// imported here.

import { parseArgs } from 'node:util'
import { onHost, onRig, testFiles } from './lib/ava.mjs'
import { MACHINES } from './lib/machines.mjs'
import { nativeTests } from './lib/native.mjs'
import {
  prepareAddon,
  prepareBenchModules,
  PrepareError,
  prepareExamples,
  prepareLibrary,
  prepareModules,
  prepareTypeScript,
} from './lib/prepare.mjs'
import { report, Results, runSuite } from './lib/results.mjs'
import { say } from './lib/say.mjs'
import { leftBehind, ownTemporaryFolder } from './lib/scratch.mjs'
import { typeTests } from './lib/types.mjs'
import { buildRecorder, forgetRecord } from './uapi/recorder.mjs'

/** On this machine, its calls of KVM recorded. */
const recorded = (results, files) => onHost(results, files, { record: 'host' })

/** These boot rigs of their own: one at a time, and with an emulated machine's patience. */
const traced = (results, files) =>
  onHost(results, files, { options: ['--serial', '--concurrency', '1', '--timeout', '15m'] })

// Every suite in the order of its price. `folder` names the compiled tests it takes; `--filter` chooses among those.
const SUITES = [
  { name: 'types', what: 'type tests, checked by the compiler', run: typeTests },
  { name: 'unit', what: 'unit tests on this machine', folder: 'unit', run: recorded },
  { name: 'kvm', what: 'virtual machines, on this machine', folder: 'kvm', run: recorded },
  { name: 'native', what: 'C++ unit tests', run: nativeTests },
  { name: 'rig', what: 'tests on real devices, in the rig', folder: 'rig', run: onRig, machines: MACHINES },
  {
    name: 'trace',
    what: 'the rig from outside: every access that a device sees, and a machine that falls silent',
    folder: 'host-rig',
    run: traced,
  },
]

const HELP = `npm test -- [options]

${SUITES.map(({ name, what }) => `  --${name.padEnd(14)}${what}`).join('\n')}
  --filter GLOB   only test files whose path below test/ matches, such as 'rig/nvme*'
  --kernel NAME   the rig's machines with that kernel: stock, built or both (default); the first use of built compiles it
  --help          this text

Without a suite's name, all of them run.`

const options = {
  filter: { type: 'string' },
  help: { type: 'boolean' },
  kernel: { type: 'string', default: 'both' },
  ...Object.fromEntries(SUITES.map(({ name }) => [name, { type: 'boolean' }])),
}

// The kernels of a choice.
const KERNELS = { stock: ['stock'], built: ['built'], both: ['stock', 'built'] }

/** A suite that runs on several machines counts on each of them. */
const perMachine = (suites, kernels) =>
  suites.flatMap(({ machines, ...suite }) =>
    machines === undefined
      ? [suite]
      : machines
          .filter(({ kernel }) => kernels.includes(kernel))
          .map(({ name, what, takes, ...machine }) => ({
            ...suite,
            name,
            what: `${suite.what}, on ${what}`,
            takes,
            run: (results, files) => suite.run(results, files, { ...machine, record: name }),
          })),
  )

const choose = (values) => {
  const named = SUITES.filter(({ name }) => values[name])
  const suites = named.length > 0 ? named : SUITES
  return values.filter === undefined ? suites : suites.filter(({ folder }) => folder !== undefined)
}

// What docs/uapi.md is made from. A run of everything begins it anew, a run of some adds to it.
const prepareRecord = (suites) => {
  if (process.platform !== 'linux') return
  const problem = buildRecorder()
  if (problem !== undefined) throw new PrepareError(problem)
  if (suites.length >= SUITES.length) forgetRecord()
}

const prepare = (suites) => {
  const compiled = suites.some(({ folder }) => folder !== undefined)
  if (compiled || suites.some(({ name }) => name === 'types')) prepareModules()
  if (!compiled) return
  if (process.env.NODE_VFIO_ADDON === undefined) prepareAddon()
  prepareTypeScript()
  // The example VMM, which the tests start as its users do. In the rig it would take minutes to compile.
  if (suites.some(({ folder }) => folder !== 'unit' && folder !== 'fuzz')) {
    prepareLibrary()
    prepareExamples()
  }
  prepareRecord(suites)
  // The reports of benchmarks are drawn by a library that is installed there; without it their tests are skipped.
  if (!suites.some(({ folder }) => folder === 'unit')) return
  try {
    prepareBenchModules()
  } catch (error) {
    if (!(error instanceof PrepareError)) throw error
    say(error.message)
  }
}

/** The last test of all: the others took their temporary folders away. */
const tidy = (results) => {
  const names = leftBehind()
  if (names.length === 0) results.pass()
  else results.fail('what tests left in the temporary folder', names)
}

const main = async () => {
  const { values } = parseArgs({ options })
  if (values.help) {
    console.log(HELP)
    return
  }
  ownTemporaryFolder('run')
  if (!Object.hasOwn(KERNELS, values.kernel))
    throw new RangeError(`--kernel is one of ${Object.keys(KERNELS).join(', ')}, not '${values.kernel}'`)
  const suites = perMachine(choose(values), KERNELS[values.kernel])
  const setUp = new Results('set-up')
  try {
    prepare(suites)
  } catch (error) {
    if (!(error instanceof PrepareError)) throw error
    setUp.fail(error.message)
    report([setUp])
    return
  }
  const all = []
  for (const { name, what, folder, takes = () => true, run } of suites) {
    const files = folder && testFiles(folder, values.filter).filter(takes)
    // With a filter, a suite that has none of the chosen files is not part of the run.
    if (values.filter !== undefined && files.length === 0) continue
    say(what)
    all.push(await runSuite(name, (results) => run(results, files)))
  }
  if (all.length === 0) {
    setUp.fail(`no test file matches ${values.filter}`)
    all.push(setUp)
  }
  all.push(await runSuite('tidiness', tidy))
  report(all)
}

await main()
