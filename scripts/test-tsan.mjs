// `npm run test:tsan`: the C++ unit tests, and those of virtual machines in node, on an addon built with ThreadSanitizer, in
// build-tsan. Node itself is not built with it: what it does between threads is not looked at, nor what is called from there.

import { mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { onHost, testFiles } from './lib/ava.mjs'
import { build, configure, runCtest, whyNoNativeTests } from './lib/native.mjs'
import { prepareExamples, prepareLibrary, prepareModules, prepareTypeScript } from './lib/prepare.mjs'
import { capture, ROOT } from './lib/process.mjs'
import { report, Results, runSuite } from './lib/results.mjs'
import { say } from './lib/say.mjs'

const FOLDER = 'build-tsan'
// A finding fails the test that had it.
const SANITIZER = { TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1' }

const LOGS = join(ROOT, FOLDER, 'logs')

/** In node: a finding is written to a file, since what a program under test prints is its own. */
const kvm = async (results) => {
  rmSync(LOGS, { recursive: true, force: true })
  mkdirSync(LOGS, { recursive: true })
  const runtime = realpathSync(capture('gcc', ['-print-file-name=libtsan.so']))
  const env = {
    TSAN_OPTIONS: `ignore_noninstrumented_modules=1:exitcode=0:report_signal_unsafe=0:log_path=${join(LOGS, 'tsan')}`,
    NODE_VFIO_ADDON: join(ROOT, FOLDER, 'node_vfio.node'),
    LD_PRELOAD: runtime,
  }
  await onHost(results, testFiles('kvm'), { options: ['--concurrency', '1', '--timeout', '5m'], env })
  const findings = readdirSync(LOGS).map((name) => [name, readFileSync(join(LOGS, name), 'utf8')])
  for (const [name, text] of findings) {
    console.log(text)
    results.fail(`${name}: ${/WARNING: ThreadSanitizer: [^\n]*/.exec(text)?.[0] ?? 'a report'}`)
  }
  if (findings.length === 0) results.pass()
}

const prepare = () => {
  const problem = whyNoNativeTests()
  if (problem !== undefined) return problem
  prepareModules()
  say(`building the addon and the C++ tests with ThreadSanitizer in ${FOLDER}`)
  const failure =
    configure(FOLDER, ['-DNODE_VFIO_SANITIZE=thread']) ?? build(FOLDER, 'node_vfio', 'native_tests')
  if (failure !== undefined) return failure
  prepareTypeScript()
  // Compilers do not run under a sanitizer: what the programs under test would set up is there before.
  prepareLibrary()
  prepareExamples()
  return undefined
}

const problem = prepare()
if (problem === undefined) {
  say('C++ unit tests under ThreadSanitizer')
  const first = await runSuite('tsan:native', (results) => runCtest(results, FOLDER, SANITIZER))
  say('virtual machines under ThreadSanitizer')
  report([first, await runSuite('tsan:kvm', kvm)])
} else {
  const setUp = new Results('tsan')
  setUp.fail(problem)
  report([setUp])
}
