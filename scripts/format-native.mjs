// clang-format over every C++ file, with the version that `npm run lint:native` checks with.

import { clangTool, nativeFiles } from './lib/clang.mjs'
import { run } from './lib/process.mjs'

const program = clangTool('clang-format')
const problem = program
  ? run(program, ['-i', ...nativeFiles(['.cc', '.h'])])
  : 'clang-format 16 or newer is missing'
if (problem !== undefined) {
  console.error(problem)
  process.exitCode = 1
}
