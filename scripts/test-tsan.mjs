// `npm run test:tsan`: the C++ unit tests built with ThreadSanitizer, in build-tsan. Node itself is not built with it, so
// that what runs inside node is left to the other suites.

import { build, configure, runCtest, whyNoNativeTests } from './lib/native.mjs'
import { report, Results, runSuite } from './lib/results.mjs'
import { say } from './lib/say.mjs'

const FOLDER = 'build-tsan'
// A finding fails the test that had it.
const SANITIZER = { TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1' }

const prepare = () => {
  const problem = whyNoNativeTests()
  if (problem !== undefined) return problem
  say(`building the C++ tests with ThreadSanitizer in ${FOLDER}`)
  return configure(FOLDER, ['-DNODE_VFIO_SANITIZE=thread']) ?? build(FOLDER, 'native_tests')
}

const problem = prepare()
if (problem === undefined) {
  say('C++ unit tests under ThreadSanitizer')
  report([await runSuite('tsan:native', (results) => runCtest(results, FOLDER, SANITIZER))])
} else {
  const setUp = new Results('tsan')
  setUp.fail(problem)
  report([setUp])
}
