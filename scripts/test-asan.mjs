// `npm run test:asan`: the C++ tests, the unit tests and those of virtual machines on an addon built with AddressSanitizer, UndefinedBehaviorSanitizer and
// LeakSanitizer, in build-asan. Node leaks by design at its exit, so only leaks of what our code allocated count.

import { mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { onHost, testFiles } from './lib/ava.mjs'
import { build, configure, runCtest, whyNoNativeTests } from './lib/native.mjs'
import { prepareExamples, prepareLibrary, prepareModules, prepareTypeScript } from './lib/prepare.mjs'
import { capture, findProgram, ROOT } from './lib/process.mjs'
import { report, Results, runSuite } from './lib/results.mjs'
import { plural, say } from './lib/say.mjs'

const FOLDER = 'build-asan'
const LOGS = join(ROOT, FOLDER, 'logs')
const ADDON = join(ROOT, FOLDER, 'node_vfio.node')
// A leak is ours when we allocated it: what Node allocates when we call it belongs to V8's heap, which is not taken down
// at exit. Nor are finalizers run then, and a window is freed by its buffer's finalizer alone.
const OURS = /nodevfio::|node_vfio|native_tests|\/native\//
const ALLOCATOR = /__interceptor_|operator new|\bstd::|__gnu_cxx::/
const FREED_BY_FINALIZERS = /nodevfio::Window::wrap/

// An error aborts; a leak only writes its report (exitcode=0), which is judged below.
const SANITIZERS = {
  ASAN_OPTIONS: `abort_on_error=1:exitcode=0:detect_leaks=1:detect_stack_use_after_return=1:log_path=${join(LOGS, 'asan')}`,
  UBSAN_OPTIONS: 'print_stacktrace=1:abort_on_error=1',
}

/** The leaks in a report that our code allocated. */
const ourLeaks = (text) =>
  text
    .split(/\n\s*\n/)
    .filter((part) => /^(Direct|Indirect) leak of/m.test(part) && !FREED_BY_FINALIZERS.test(part))
    .filter((part) => {
      const frames = part.split('\n').filter((line) => /^\s*#\d/.test(line))
      return OURS.test(frames.find((frame) => !ALLOCATOR.test(frame)) ?? '')
    })

/** Counts one check: nothing that the sanitizers wrote is ours. */
const judge = (results) => {
  let bad = 0
  for (const name of readdirSync(LOGS).sort()) {
    const text = readFileSync(join(LOGS, name), 'utf8')
    if (/LeakSanitizer has encountered a fatal error/.test(text)) {
      results.fail(`${name}: leaks cannot be looked for here (ptrace is not allowed)`)
      return
    }
    const error =
      /ERROR: (AddressSanitizer|UndefinedBehaviorSanitizer)[^\n]*|^[^\n]*runtime error:[^\n]*/m.exec(
        text,
      )?.[0]
    const findings = error === undefined ? ourLeaks(text) : [text]
    if (findings.length === 0) continue
    bad += 1
    console.log(findings.join('\n\n'))
    const title = `${name}: ${error ?? `${plural(findings.length, 'leak')} in our code`}`
    results.fail(title, findings.join('\n').split('\n'))
  }
  if (bad === 0) results.pass()
}

const fresh = () => {
  rmSync(LOGS, { recursive: true, force: true })
  mkdirSync(LOGS, { recursive: true })
}

const native = (results) => {
  fresh()
  runCtest(results, FOLDER, SANITIZERS)
  judge(results)
}

const inNode = (folder, concurrency) => async (results) => {
  fresh()
  const runtime = capture('gcc', ['-print-file-name=libasan.so'])
  const options = ['--concurrency', concurrency, '--timeout', '5m']
  const env = { ...SANITIZERS, NODE_VFIO_ADDON: ADDON, LD_PRELOAD: realpathSync(runtime) }
  await onHost(results, testFiles(folder), { options, env })
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

let problem
try {
  problem = prepare()
} catch (error) {
  problem = error.message
}
if (problem === undefined) {
  say('C++ unit tests under the sanitizers')
  const first = await runSuite('asan:native', native)
  say('unit tests under the sanitizers')
  const second = await runSuite('asan:unit', inNode('unit', '2'))
  // Skipped one by one, with the reason, where /dev/kvm does not open.
  say('virtual machines under the sanitizers')
  report([first, second, await runSuite('asan:kvm', inNode('kvm', '1'))])
} else {
  const setUp = new Results('asan')
  setUp.fail(problem)
  report([setUp])
}
