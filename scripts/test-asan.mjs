// `npm run test:asan`: the C++ tests, the unit tests that cross the addon, those of virtual machines and some of the rig's on an addon built with
// AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer, in build-asan. `-- --rig` runs the rig's alone, `-- --no-rig`
// the others.

import { mkdirSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { onHost, onRig, testFiles } from './lib/ava.mjs'
import { build, configure, runCtest, whyNoNativeTests } from './lib/native.mjs'
import { prepareExamples, prepareLibrary, prepareModules, prepareTypeScript } from './lib/prepare.mjs'
import { capture, findProgram, ROOT } from './lib/process.mjs'
import { report, Results, runSuite } from './lib/results.mjs'
import { findingsIn, sanitizerEnvironment } from './lib/sanitizers.mjs'
import { say } from './lib/say.mjs'

const FOLDER = 'build-asan'
const LOGS = join(ROOT, FOLDER, 'logs')
const ADDON = join(ROOT, FOLDER, 'node_vfio.node')
/**
 * Files of test/rig that run under the sanitizers too: those that cross most of the addon, on real devices, in short. The whole
 * rig would take hours. The guard's own tests are left out: the sanitizers have a SIGBUS handler, where those expect none.
 */
const IN_RIG = ['rig/reset', 'rig/ioeventfd', 'rig/request', 'rig/wires']

/**
 * Folders of test/unit that are about text, tables and files of sysfs. Their many programs load the addon and call little of it, and
 * each costs the sanitizers' start and their search for leaks.
 */
const APART = /^out\/test\/unit\/(?:bench|cli|host|measure|merged|rig|uapi)\//

/** Counts one check: nothing that the sanitizers wrote is ours. */
const judge = (results) => {
  const findings = findingsIn(LOGS)
  for (const { title, text } of findings) {
    console.log(text)
    results.fail(title, text.split('\n'))
  }
  if (findings.length === 0) results.pass()
}

const fresh = () => {
  rmSync(LOGS, { recursive: true, force: true })
  mkdirSync(LOGS, { recursive: true })
}

const native = (results) => {
  fresh()
  runCtest(results, FOLDER, sanitizerEnvironment(LOGS))
  judge(results)
}

/** For a process of node that loads the addon. */
const inNodeEnvironment = (sanitizers) => ({
  ...sanitizers,
  NODE_VFIO_ADDON: ADDON,
  LD_PRELOAD: realpathSync(capture('gcc', ['-print-file-name=libasan.so'])),
})

const inNode = (folder, concurrency) => async (results) => {
  fresh()
  const options = ['--concurrency', concurrency, '--timeout', '5m']
  const env = inNodeEnvironment(sanitizerEnvironment(LOGS))
  const files = testFiles(folder).filter((name) => !APART.test(name))
  await onHost(results, files, { options, env })
  judge(results)
}

/** The logs are where the guest may write. Its leaks are looked for on the host: that takes a minute for each process there. */
const inRig = async (results) => {
  fresh()
  const files = IN_RIG.flatMap((name) => testFiles('rig', name))
  if (files.length !== IN_RIG.length) results.fail(`of ${IN_RIG.join(', ')}, some are missing`)
  const env = inNodeEnvironment(sanitizerEnvironment(LOGS, { leaks: false }))
  await onRig(results, files, { kernel: 'stock', env, share: LOGS })
  judge(results)
}

const prepare = () => {
  const problem = whyNoNativeTests()
  if (problem !== undefined) return problem
  if (findProgram('gcc') === undefined) return 'gcc is missing, whose sanitizers are used'
  prepareModules()
  say(`building the addon and the C++ tests with sanitizers in ${FOLDER}`)
  const failure =
    configure(FOLDER, ['-DNODE_VFIO_SANITIZE=address']) ?? build(FOLDER, 'node_vfio', 'native_tests')
  if (failure !== undefined) return failure
  prepareTypeScript()
  // Compilers do not run under a sanitizer: what the programs under test would set up is there before.
  prepareLibrary()
  prepareExamples()
  return undefined
}

const { values: chosen } = parseArgs({
  allowNegative: true,
  options: { rig: { type: 'boolean' } },
})

const suites = [
  ...(chosen.rig === true
    ? []
    : [
        ['C++ unit tests', 'asan:native', native],
        ['unit tests', 'asan:unit', inNode('unit', '2')],
        // Skipped one by one, with the reason, where /dev/kvm does not open.
        ['virtual machines', 'asan:kvm', inNode('kvm', '1')],
      ]),
  ...(chosen.rig === false ? [] : [['some of the rig', 'asan:rig', inRig]]),
]

let problem
try {
  problem = prepare()
} catch (error) {
  problem = error.message
}
if (problem === undefined) {
  const done = []
  for (const [what, name, body] of suites) {
    say(`${what} under the sanitizers`)
    done.push(await runSuite(name, body))
  }
  report(done)
} else {
  const setUp = new Results('asan')
  setUp.fail(problem)
  report([setUp])
}
