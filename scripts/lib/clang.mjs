// Finding clang's tools, and the files they look at.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { capture, findProgram, ROOT } from './process.mjs'

const OLDEST_CLANG = 16

/** `clang-tidy-19`, or `clang-tidy` where that is new enough to read our C++20. */
export const clangTool = (name) => {
  const versions = Array.from({ length: 10 }, (_, i) => `${name}-${OLDEST_CLANG + 9 - i}`)
  const numbered = findProgram(`${name}-19`, ...versions)
  if (numbered !== undefined) return numbered
  const version = /version (\d+)/.exec(capture(name, ['--version']) ?? '')?.[1]
  return Number(version) >= OLDEST_CLANG ? name : undefined
}

const filesIn = (folder, endings) => {
  try {
    return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => endings.some((ending) => name.endsWith(ending)))
      .map((name) => join(folder, name))
      .sort()
  } catch {
    return []
  }
}

const FOLDERS = ['native', 'test/native', 'bench/addon', 'bench/baseline']

/** The project's C++ files with these endings; `folders` defaults to all that hold any. */
export const nativeFiles = (endings, folders = FOLDERS) =>
  folders.flatMap((folder) => filesIn(folder, endings))
