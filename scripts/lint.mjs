// `npm run lint` and, with --native, `npm run lint:native`: every check runs, whatever the others say.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { aptInstall } from './lib/apt.mjs'
import { clangTool, nativeFiles } from './lib/clang.mjs'
import { configure } from './lib/native.mjs'
import { ROOT, run } from './lib/process.mjs'
import { report, runSuite } from './lib/results.mjs'
import { plural, say } from './lib/say.mjs'
import { Tidy } from './lib/tidy.mjs'

const check = (results, name, problem, output = []) => {
  if (problem === undefined) results.pass()
  else results.fail(`${name} (${problem.split(': ').pop()})`, output)
}

const bin = (path) => [process.execPath, [join('node_modules', ...path.split('/'))]]
const CHECKS = [
  { name: 'tsc', program: bin('typescript/bin/tsc'), args: ['--noEmit'] },
  { name: 'tsc of scripts', program: bin('typescript/bin/tsc'), args: ['-p', 'tsconfig.scripts.json'] },
  { name: 'eslint', program: bin('eslint/bin/eslint.js'), args: ['--max-warnings', '0', '.'] },
  {
    name: 'prettier',
    program: bin('prettier/bin/prettier.cjs'),
    args: ['--check', '--log-level', 'warn', '.'],
  },
  {
    name: 'dependency-cruiser',
    program: bin('dependency-cruiser/bin/dependency-cruise.mjs'),
    args: ['--config', '.dependency-cruiser.cjs', 'ts', 'test', 'bench', 'examples', 'scripts', 'rig'],
  },
  {
    name: 'native includes',
    program: [process.execPath, [join('scripts', 'native-includes.mjs')]],
    args: [],
  },
]

const lint = (results) => {
  for (const { name, program, args } of CHECKS) {
    say(name)
    check(results, name, run(program[0], [...program[1], ...args]))
  }
}

const lintNative = async (results) => {
  const tools = ['clang-format', 'clang-tidy']
  if (tools.some((name) => clangTool(name) === undefined)) {
    const problem = aptInstall(
      tools.map((name) => `${name}-19`),
      'they check the C++ sources',
    )
    if (problem !== undefined) return results.fail(problem)
  }
  say('clang-format')
  check(
    results,
    'clang-format',
    run(clangTool('clang-format'), ['--dry-run', '-Werror', ...nativeFiles(['.cc', '.h'])]),
  )

  // compile_commands.json holds what CMake was told to compile: the addon and, with doctest, the tests.
  say('clang-tidy')
  const problem = configure('build-cmake')
  if (problem !== undefined) return results.fail(problem)
  const tidy = new Tidy('build-cmake')
  const sources = [
    ...JSON.parse(readFileSync(join(ROOT, 'native', 'sources.json'), 'utf8')),
    ...nativeFiles(['.cc'], ['test/native', 'bench/addon', 'bench/baseline']),
  ]
  for (const file of sources.filter((name) => !tidy.knows(name))) {
    results.fail(
      `clang-tidy ${file} (not in compile_commands.json: are Node's headers and doctest-dev installed?)`,
    )
  }
  await tidy.read(
    sources.filter((name) => tidy.knows(name)),
    (name, count, problem, output) =>
      check(results, `clang-tidy ${name}, ${plural(count, 'file')}`, problem, output),
  )
}

const native = process.argv.includes('--native')
report([await runSuite(native ? 'lint:native' : 'lint', native ? lintNative : lint)])
