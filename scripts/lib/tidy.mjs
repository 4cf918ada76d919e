// clang-tidy over the C++ sources. The headers of Node-API and of the standard library cost ten seconds for each file that
// includes them, and the file itself almost nothing. So the files of a folder are read as one, that includes them all;
// clang-tidy and its analyzer look into included .cc files as they do into the main one. What was clean and is unchanged is
// not read again.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { clangTool, nativeFiles } from './clang.mjs'
import { capture, ROOT, runLines } from './process.mjs'

/** Each file here is a program with a `main` of its own. */
const PROGRAMS = ['bench/baseline']
/** What the compiler says of two files that use one name for different things. */
const CLASH = /^(\S+?):\d+:\d+: error: .*\[clang-diagnostic-error\]$/

const hash = (...texts) => createHash('sha256').update(texts.join('\0')).digest('hex')
const text = (file) => readFileSync(join(ROOT, file), 'utf8')

/** The files of each folder; one by one where they are programs. */
const groupsOf = (files) => {
  const groups = new Map()
  for (const file of files) {
    const folder = dirname(file)
    const name = PROGRAMS.includes(folder) ? file : folder
    groups.set(name, [...(groups.get(name) ?? []), file])
  }
  return [...groups].map(([name, members]) => ({ name, members }))
}

export class Tidy {
  #build
  #folder
  #program = clangTool('clang-tidy')
  #commands
  #common

  /** `build` is CMake's folder, configured: what to compile with is written there. */
  constructor(build) {
    this.#build = join(ROOT, build)
    this.#folder = join(this.#build, 'clang-tidy')
    mkdirSync(this.#folder, { recursive: true })
    const commands = JSON.parse(readFileSync(join(this.#build, 'compile_commands.json'), 'utf8'))
    this.#commands = new Map(commands.map((command) => [relative(ROOT, command.file), command]))
    const headers = nativeFiles(['.h']).map(text)
    this.#common = hash(capture(this.#program, ['--version']), text('.clang-tidy'), ...headers)
  }

  /** Whether CMake compiles that file. */
  knows(file) {
    return this.#commands.has(file)
  }

  /**
   * Reads files, a folder on each processor at a time, and tells `check(name, count, problem, output)` of each folder.
   */
  async read(files, check) {
    const queue = groupsOf(files).sort((a, b) => b.members.length - a.members.length)
    const worker = async () => {
      for (let group = queue.shift(); group !== undefined; group = queue.shift()) {
        const { problem, output } = await this.#group(group)
        if (problem !== undefined) console.log(output.join('\n'))
        check(group.name, group.members.length, problem, output)
      }
    }
    await Promise.all(Array.from({ length: availableParallelism() }, worker))
  }

  async #group({ name, members }) {
    const clean = join(this.#folder, hash(this.#common, name, ...members, ...members.map(text)))
    if (existsSync(clean)) return {}
    const together = members.length === 1 ? { clashing: members } : await this.#together(name, members)
    let { problem, output = [] } = together
    // Files that share a name are sound, each for itself.
    for (const file of together.clashing ?? []) {
      const alone = await this.#run(this.#build, file)
      problem ??= alone.problem
      output = [...output, ...alone.output]
    }
    if (problem === undefined) writeFileSync(clean, '')
    return { problem, output }
  }

  /** Reads files as one. Those whose names clash with another's are left out, and told. */
  async #together(name, members) {
    const clashing = []
    let rest = members
    for (;;) {
      if (rest.length === 0) return { clashing }
      const found = await this.#run(...this.#unit(name, rest))
      const clashes = new Set(found.output.map((line) => CLASH.exec(line)?.[1]))
      const kept = rest.filter((file) => !clashes.has(join(ROOT, file)))
      if (kept.length === rest.length) return { ...found, clashing }
      clashing.push(...rest.filter((file) => !kept.includes(file)))
      rest = kept
    }
  }

  /** Writes a file that includes others, and the command that compiles it, into a folder for the two. */
  #unit(name, members) {
    const folder = join(this.#folder, name.replaceAll('/', '_'))
    const file = join(folder, 'all.cc')
    mkdirSync(folder, { recursive: true })
    writeFileSync(file, members.map((each) => `#include "${join(ROOT, each)}"  // NOLINT\n`).join(''))
    const model = this.#commands.get(members[0])
    const command = model.command.replaceAll(model.file, file)
    writeFileSync(
      join(folder, 'compile_commands.json'),
      JSON.stringify([{ directory: model.directory, command, file }]),
    )
    return [folder, file]
  }

  async #run(commands, file) {
    const output = []
    const problem = await runLines(
      this.#program,
      ['-p', commands, '--quiet', file],
      (line) => output.push(line),
      { quiet: true },
    )
    return { problem, output }
  }
}
