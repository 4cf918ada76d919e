// `npm run lint` and, with --native, `npm run lint:native`: every check runs, whatever the others say.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { aptInstall } from './lib/apt.mjs'
import { clangTool, nativeFiles } from './lib/clang.mjs'
import { configure } from './lib/native.mjs'
import { capture, ROOT, run, runLines } from './lib/process.mjs'
import { report, runSuite } from './lib/results.mjs'
import { say } from './lib/say.mjs'

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

const TIDY_FOLDER = join(ROOT, 'build-cmake', 'clang-tidy')
const hash = (...texts) => createHash('sha256').update(texts.join('\0')).digest('hex')
const text = (file) => readFileSync(join(ROOT, file), 'utf8')

/** Lints files, as many at a time as there are processors; a file that was clean and is unchanged is not read again. */
const tidy = async (results, program, files) => {
  const common = hash(capture(program, ['--version']), text('.clang-tidy'), ...nativeFiles(['.h']).map(text))
  mkdirSync(TIDY_FOLDER, { recursive: true })
  const queue = [...files]
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const clean = join(TIDY_FOLDER, hash(common, file, text(file)))
      let problem
      const output = []
      if (!existsSync(clean)) {
        const args = ['-p', 'build-cmake', '--quiet', file]
        problem = await runLines(program, args, (line) => output.push(line), { quiet: true })
        if (problem === undefined) writeFileSync(clean, '')
        else console.log(output.join('\n'))
      }
      check(results, `clang-tidy ${file}`, problem, output)
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
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
  const commands = JSON.parse(readFileSync(join(ROOT, 'build-cmake', 'compile_commands.json'), 'utf8'))
  const known = new Set(commands.map(({ file }) => file))
  const sources = [
    ...JSON.parse(readFileSync(join(ROOT, 'native', 'sources.json'), 'utf8')),
    ...nativeFiles(['.cc'], ['test/native', 'bench/addon', 'bench/baseline']),
  ]
  for (const file of sources.filter((name) => !known.has(join(ROOT, name)))) {
    results.fail(
      `clang-tidy ${file} (not in compile_commands.json: are Node's headers and doctest-dev installed?)`,
    )
  }
  await tidy(
    results,
    clangTool('clang-tidy'),
    sources.filter((name) => known.has(join(ROOT, name))),
  )
}

const native = process.argv.includes('--native')
report([await runSuite(native ? 'lint:native' : 'lint', native ? lintNative : lint)])
