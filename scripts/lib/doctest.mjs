// Single cases of the C++ unit tests, run by title. It must not know why.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { run } from './process.mjs'
import { say } from './say.mjs'

/** doctest's own escape for what it would take as a separator or a wildcard. */
const filterOf = (title) => title.replaceAll(',', '\\,').replaceAll('*', '\\*')

/** How the case of that title ends in a program of doctest's. */
export const runDoctest = (program, title) => {
  const { status, stdout } = spawnSync(program, [`--test-case=${filterOf(title)}`, '--no-colors'], {
    encoding: 'utf8',
    timeout: 120_000,
  })
  if (status === null) return 'did not end'
  const ran = Number(/test cases: +(\d+)/.exec(stdout)?.[1] ?? 0)
  if (ran === 0) return status === 0 ? 'not found' : 'failed'
  return status === 0 ? 'passed' : 'failed'
}

/** Builds the C++ tests of a tree in it and notes under `which` how each of the cases ended. */
export const provedDoctests = (cases, folder, which) => {
  if (cases.length === 0) return
  say(`${which} sources: building the C++ unit tests`)
  const quiet = { cwd: folder, stdio: ['ignore', 'ignore', 'ignore'] }
  const into = join(folder, 'build-cmake')
  const problem =
    run('cmake', ['-S', folder, '-B', into], quiet) ??
    run('cmake', ['--build', into, '--parallel', '--target', 'native_tests'], quiet)
  for (const each of cases) {
    const ending =
      problem === undefined ? runDoctest(join(into, 'native_tests'), each.title) : 'could not load'
    each[which] = { ending }
    console.log(`  ${ending.padEnd(14)} ${each.file} › ${each.title}`)
  }
}
