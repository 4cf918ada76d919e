// The C++ unit tests: configured by CMake, run by ctest, one process per test case.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { aptInstall } from './apt.mjs'
import { findProgram, ROOT, run } from './process.mjs'

const DOCTEST = ['/usr/include/doctest/doctest.h', '/usr/local/include/doctest/doctest.h']

/** What keeps the C++ tests from being built here, after trying to install it; undefined when nothing does. */
export const whyNoNativeTests = () => {
  if (process.platform !== 'linux') return 'they test Linux system calls'
  const missing = [
    ...(findProgram('cmake') === undefined ? ['cmake'] : []),
    ...(DOCTEST.some((path) => existsSync(path)) ? [] : ['doctest-dev']),
  ]
  return missing.length === 0 ? undefined : aptInstall(missing, 'the C++ unit tests are built with them')
}

/** Configures a CMake build folder. Returns why that failed, if it did. */
export const configure = (folder, settings = []) => {
  const cache = join(ROOT, folder, 'CMakeCache.txt')
  // CMake refuses a folder that was configured for another place (a checkout that was moved or copied).
  if (existsSync(cache) && !readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${ROOT}\n`)) {
    rmSync(join(ROOT, folder), { recursive: true })
  }
  const generator = !existsSync(cache) && findProgram('ninja') !== undefined ? ['-G', 'Ninja'] : []
  return run('cmake', ['-S', '.', '-B', folder, ...generator, ...settings], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

export const build = (folder, ...targets) =>
  run('cmake', ['--build', folder, '--parallel', '--target', ...targets], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })

const decode = (text) =>
  text.replace(
    /&(lt|gt|quot|apos|amp);/g,
    (_, name) => ({ lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' })[name],
  )

const outputOf = (testcase) =>
  decode(/<system-out>(.*?)<\/system-out>/s.exec(testcase)?.[1] ?? '')
    .split('\n')
    .filter((line) => line.trim() !== '')

/** Runs ctest in a build folder and counts its cases. */
export const runCtest = (results, folder, env = {}) => {
  const file = join(ROOT, folder, 'results.xml')
  rmSync(file, { force: true })
  const { status, stdout } = spawnSync(
    'ctest',
    ['--test-dir', folder, '--output-on-failure', '--output-junit', file],
    { cwd: ROOT, env: { ...process.env, ...env }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const problem = status === 0 ? undefined : `ctest: exit status ${status}`
  if (problem !== undefined) console.log(stdout)
  if (!existsSync(file)) {
    results.fail('ctest wrote no results')
    return
  }
  for (const [, name, status, rest] of readFileSync(file, 'utf8').matchAll(
    /<testcase name="([^"]*)".*? status="(\w+)"(.*?)<\/testcase>/gs,
  )) {
    if (status === 'run') results.pass()
    else results.fail(`${decode(name)}${status === 'fail' ? '' : ` (${status})`}`, outputOf(rest))
  }
  if (problem !== undefined && results.failures.length === 0) results.fail(problem)
}

export const nativeTests = (results) => {
  const reason = whyNoNativeTests()
  if (reason !== undefined) {
    results.skip('C++ unit tests', reason)
    return
  }
  const folder = 'build-cmake'
  const problem = configure(folder) ?? build(folder, 'native_tests')
  if (problem === undefined) runCtest(results, folder)
  else results.fail(problem)
}
