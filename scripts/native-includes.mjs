// Holds the C++ folders to the imports that scripts/lib/includes.mjs allows. Part of `npm run lint`.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { nativeFiles } from './lib/clang.mjs'
import { includeProblems } from './lib/includes.mjs'
import { ROOT } from './lib/process.mjs'

const files = new Map(
  nativeFiles(['.cc', '.h'], ['native']).map((path) => [
    path.slice('native/'.length),
    readFileSync(join(ROOT, path), 'utf8'),
  ]),
)
const problems = includeProblems(files)
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exitCode = 1
