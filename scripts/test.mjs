// `npm test` and `npm run test:all`: set up what is missing, run the suites, sum up. Runs on a fresh clone: only Node's own
// modules are imported here.

import { existsSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  onHost,
  onRig,
  prepareClientQemu,
  prepareRigTests,
  prepareUserGuests,
  testFiles,
} from './lib/ava.mjs'
import { MACHINES } from './lib/machines.mjs'
import { nativeTests } from './lib/native.mjs'
import {
  prepareAcpica,
  prepareAddon,
  prepareBenchModules,
  PrepareError,
  prepareExamples,
  prepareLibrary,
  prepareModules,
  prepareSchemas,
  prepareTypeScript,
} from './lib/prepare.mjs'
import { ROOT } from './lib/process.mjs'
import { Progress } from './lib/progress.mjs'
import { report, Results, runSuite } from './lib/results.mjs'
import { plural, say } from './lib/say.mjs'
import { leftBehind, ownTemporaryFolder } from './lib/scratch.mjs'
import { divide, saveTimes, Stopwatch, timeOfAll } from './lib/times.mjs'
import { typeTests } from './lib/types.mjs'
import { buildRecorder, forgetRecord } from './uapi/recorder.mjs'

/** On this machine, its calls of KVM recorded. */
const recorded = { record: 'host' }

/** These boot rigs of their own: one at a time, and with an emulated machine's patience. */
const patient = { options: ['--serial', '--concurrency', '1', '--timeout', '15m'] }

// In the order of their price. `folder` names the compiled tests that a suite takes; `quick` ones are what a contributor
// runs, before each commit.
/**
 * @typedef {object} Suite
 * @property {string} name
 * @property {string} what
 * @property {string} [folder]
 * @property {boolean} [quick] the whole of it, or of the rig's what its machines say
 * @property {{ record?: string, options?: string[] }} [host]
 * @property {() => Promise<unknown>} [before] fetches what its tests start
 * @property {(results: Results) => unknown} [run]
 * @property {import('./lib/machines.mjs').Machine[]} [machines]
 * @property {Partial<import('./lib/machines.mjs').Machine>} [machine] the one of a suite that runs on one
 * @property {string[]} [files] compiled
 */
/** @type {Suite[]} */
const SUITES = [
  { name: 'types', what: 'type tests, checked by the compiler', quick: true, run: typeTests },
  { name: 'unit', what: 'unit tests on this machine', folder: 'unit', quick: true, host: recorded },
  { name: 'kvm', what: 'virtual machines, on this machine', folder: 'kvm', quick: true, host: recorded },
  { name: 'native', what: 'C++ unit tests', quick: true, run: nativeTests },
  {
    name: 'vfio-user',
    what: 'devices in user space, with stock QEMU as their client, on this machine',
    folder: 'qtest',
    quick: true,
    before: prepareClientQemu,
  },
  {
    name: 'rig',
    what: 'tests on real devices, in the rig',
    folder: 'rig',
    quick: true,
    machines: MACHINES,
  },
  {
    name: 'trace',
    what: 'the rig from outside: every access that a device sees, and a machine that falls silent',
    folder: 'host-rig',
    host: patient,
  },
  {
    name: 'user-guests',
    what: 'devices in user space, in guests of stock QEMU',
    folder: 'user-guests',
    host: patient,
    before: prepareUserGuests,
  },
]

const HELP = `npm test -- [options]

${SUITES.map(({ name, what }) => `  --${name.padEnd(14)}${what}`).join('\n')}
  --all           every suite on every machine; without it and without a suite's name, the quick ones, and of the rig what
                  Debian's kernel shows in a few minutes
  --rest          what --all has beyond that
  --filter GLOB   only test files whose path below test/ matches, such as 'rig/nvme*'
  --kernel NAME   the rig's machines with that kernel: stock, built or both (default); the first use of built compiles it
  --lanes N       machines of the rig at a time (default: one for each processor and 6 GiB of memory, at most 4)
  --times         keep in test/times.json how long each file took
  --help          this text`

/** @type {import('node:util').ParseArgsConfig['options']} */
const options = {
  all: { type: 'boolean' },
  filter: { type: 'string' },
  help: { type: 'boolean' },
  kernel: { type: 'string', default: 'both' },
  lanes: { type: 'string' },
  rest: { type: 'boolean' },
  times: { type: 'boolean' },
  ...Object.fromEntries(SUITES.map(({ name }) => [name, { type: 'boolean' }])),
}

// The kernels of a choice.
const KERNELS = { stock: ['stock'], built: ['built'], both: ['stock', 'built'] }

/** The seconds that a part of a machine's tests should take at most, beside its boot of ten. */
const PART_SECONDS = 240

const GIB = 2 ** 30

const lanesOf = (given) => {
  if (given === undefined)
    return Math.max(1, Math.min(4, availableParallelism(), Math.floor(totalmem() / (6 * GIB))))
  if (/^[1-9]\d?$/.test(given)) return Number(given)
  throw new RangeError(`--lanes is a number from 1 to 99, not '${given}'`)
}

/**
 * The suites of a run, those of the rig once for each machine.
 * @returns {Suite[]}
 */
const choose = (values) => {
  const named = SUITES.filter(({ name }) => values[name])
  const suites = named.length > 0 ? named : SUITES
  const everything = named.length > 0 || values.all || values.filter !== undefined
  const wanted = (quick) => (values.rest ? !quick : everything || quick)
  return suites
    .flatMap(({ machines, ...suite }) =>
      machines === undefined
        ? [suite]
        : machines
            .filter(({ kernel }) => KERNELS[values.kernel].includes(kernel))
            .map(({ name, what, ...machine }) => ({
              ...suite,
              name,
              what: `${suite.what}, on ${what}`,
              machine: { ...machine, name },
            })),
    )
    .filter(({ folder }) => values.filter === undefined || folder !== undefined)
    .map((suite) => {
      const { folder, machine, quick = false } = suite
      const isQuick = machine === undefined ? () => quick : (machine.quick ?? (() => false))
      const takes = (file) => machine?.takes?.(file) !== false && wanted(isQuick(file))
      return folder === undefined
        ? suite
        : { ...suite, files: testFiles(folder, values.filter).filter(takes) }
    })
    .filter(({ files, quick = false }) => (files === undefined ? wanted(quick) : files.length > 0))
}

// What docs/uapi.md is made from. A run of the quick tests or of everything begins it anew, others add to it.
const prepareRecord = (values) => {
  if (process.platform !== 'linux') return
  const problem = buildRecorder()
  if (problem !== undefined) throw new PrepareError(problem)
  if (values.filter === undefined && !values.rest && !SUITES.some(({ name }) => values[name])) forgetRecord()
}

const prepare = (values) => {
  const named = SUITES.filter(({ name }) => values[name])
  const suites = (named.length > 0 ? named : SUITES).filter(
    ({ folder }) => values.filter === undefined || folder !== undefined,
  )
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
  prepareRecord(values)
  // The reports of benchmarks are drawn by a library of bench/'s. Without what is missing, its tests are skipped.
  if (!suites.some(({ folder }) => folder === 'unit')) return
  for (const peers of [prepareBenchModules, prepareAcpica, prepareSchemas]) {
    try {
      peers()
    } catch (error) {
      if (!(error instanceof PrepareError)) throw error
      say(error.message)
    }
  }
}

/** Runs jobs, so many at a time, in their order. */
const inLanes = async (lanes, jobs) => {
  const queue = [...jobs]
  const lane = async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await job()
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

/** The suites of the rig's machines: each in parts of about the same length, several machines at a time. */
const runMachines = async (suites, lanes, progress) => {
  const all = new Map()
  const parts = []
  for (const { name, what, files, machine } of suites) {
    const results = new Results(name)
    all.set(name, results)
    let reason
    try {
      reason = await prepareRigTests(machine)
    } catch (error) {
      results.fail(error.message)
      continue
    }
    if (reason !== undefined) {
      results.skip(`${plural(files.length, 'test file')} on ${name}`, reason)
      continue
    }
    const divided = divide(name, files, PART_SECONDS)
    say(`${what}${divided.length === 1 ? '' : `, in ${divided.length} parts`}`)
    for (const [index, part] of divided.entries())
      parts.push({ name, machine, part: String(index + 1), files: part, of: divided.length })
  }
  parts.sort((a, b) => timeOfAll(b.name, b.files).seconds - timeOfAll(a.name, a.files).seconds)
  const jobs = parts.map(({ name, machine, part, files, of }) => async () => {
    const watch = new Stopwatch(name, files)
    const label = lanes === 1 ? '' : `[${of === 1 ? name : `${name} ${part}`}]`
    const found = await runSuite(name, (results) =>
      onRig(results, files, {
        ...machine,
        record: name,
        part,
        label,
        onBegin: () => watch.start(),
        onTest: (title) => progress.step(watch.lap(title) / lanes),
      }),
    )
    watch.end()
    all.get(name).add(found)
  })
  await inLanes(lanes, jobs)
  return [...all.values()]
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
  if (!Object.hasOwn(KERNELS, String(values.kernel)))
    throw new RangeError(`--kernel is one of ${Object.keys(KERNELS).join(', ')}, not '${values.kernel}'`)
  const lanes = lanesOf(values.lanes)
  const setUp = new Results('set-up')
  try {
    prepare(values)
  } catch (error) {
    if (!(error instanceof PrepareError)) throw error
    setUp.fail(error.message)
    report([setUp])
    return
  }
  // With a filter, a suite that has none of the chosen files is not part of the run.
  const suites = choose(values).filter(({ files }) => values.filter === undefined || files.length > 0)
  const expected = suites
    .filter(({ files }) => files !== undefined)
    .map(({ name, files, machine }) => {
      const { tests, seconds } = timeOfAll(name, files)
      return { tests, seconds: machine === undefined ? seconds : seconds / lanes }
    })
  const progress = new Progress({
    tests: expected.reduce((sum, { tests }) => sum + tests, 0),
    seconds: expected.reduce((sum, { seconds }) => sum + seconds, 0),
  })
  const all = []
  for (const { name, what, files, host, before, run } of suites.filter(
    ({ machine }) => machine === undefined,
  )) {
    say(what)
    if (run !== undefined) {
      all.push(await runSuite(name, run))
      continue
    }
    const watch = new Stopwatch(name, files)
    all.push(
      await runSuite(name, async (results) => {
        await before?.()
        await onHost(results, files, { ...host, onTest: (title) => progress.step(watch.lap(title)) })
      }),
    )
    watch.end()
  }
  const machines = suites.filter(({ machine }) => machine !== undefined)
  if (machines.length > 0) all.push(...(await runMachines(machines, lanes, progress)))
  if (all.length === 0) {
    setUp.fail(values.filter === undefined ? 'no suite was chosen' : `no test file matches ${values.filter}`)
    all.push(setUp)
  }
  if (values.times) saveTimes((name) => existsSync(join(ROOT, 'test', `${name}.test.ts`)))
  all.push(await runSuite('tidiness', tidy))
  report(all)
}

await main()
