// How long each test file took and how many tests it has, on each machine: what parts of about the same length are made
// from, and what a run's time left is reckoned from. The figures are committed, in test/times.json; `npm run test:all --
// --times` writes them anew.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './process.mjs'

const FILE = join(ROOT, 'test', 'times.json')

// Of a file that nobody has timed yet.
const UNKNOWN = { seconds: 5, tests: 5 }

/** The name of a compiled test file in the table: its path below out/test, without its ending. */
export const nameOf = (file) => file.replace(/^out\/test\//, '').replace(/\.test\.js$/, '')

const read = () => {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8'))
  } catch {
    return {}
  }
}

const known = read()

/** { seconds, tests } of a file on a machine. */
export const timeOf = (machine, file) => known[machine]?.[nameOf(file)] ?? UNKNOWN

/** { seconds, tests } of several files. */
export const timeOfAll = (machine, files) =>
  files
    .map((file) => timeOf(machine, file))
    .reduce((sum, { seconds, tests }) => ({ seconds: sum.seconds + seconds, tests: sum.tests + tests }), {
      seconds: 0,
      tests: 0,
    })

/**
 * Divides files into parts of about the same length, none longer than `most` seconds if it can be: the longest file first,
 * each to the part that has least.
 */
export const divide = (machine, files, most) => {
  const count = Math.max(1, Math.ceil(timeOfAll(machine, files).seconds / most))
  const parts = Array.from({ length: Math.min(count, files.length) }, () => ({ files: [], seconds: 0 }))
  const byLength = files
    .map((file) => ({ file, seconds: timeOf(machine, file).seconds }))
    .sort((a, b) => b.seconds - a.seconds)
  for (const { file, seconds } of byLength) {
    const part = parts.reduce((least, each) => (each.seconds < least.seconds ? each : least))
    part.files.push(file)
    part.seconds += seconds
  }
  return parts.map((part) => part.files.sort())
}

/** Which of `files` a title of ava's belongs to: the path of its file, as far as the files differ, is in front of it. */
const fileOf = (files, title) => {
  if (files.length === 1) return files[0]
  const words = title.split(' › ')
  for (let length = words.length - 1; length > 0; length--) {
    const path = words.slice(0, length).join('/')
    const file = files.find((each) => nameOf(each) === path || nameOf(each).endsWith(`/${path}`))
    if (file !== undefined) return file
  }
  return undefined
}

/** Times files that run one after the other, by when the results of their tests come. */
export class Stopwatch {
  #files
  #machine
  #last = performance.now()
  #took = new Map()

  constructor(machine, files) {
    this.#machine = machine
    this.#files = files
  }

  /** A test has ended. Returns the seconds that it was reckoned with. */
  lap(title) {
    const now = performance.now()
    const took = (now - this.#last) / 1000
    this.#last = now
    const file = fileOf(this.#files, title)
    if (file === undefined) return 0
    const { seconds, tests } = this.#took.get(file) ?? { seconds: 0, tests: 0 }
    this.#took.set(file, { seconds: seconds + took, tests: tests + 1 })
    const reckoned = timeOf(this.#machine, file)
    return reckoned.seconds / Math.max(1, reckoned.tests)
  }

  /** Only now does a test run: a machine had to boot first. */
  start() {
    this.#last = performance.now()
  }

  /** Keeps what was measured, for `saveTimes`. */
  end() {
    const machine = (known[this.#machine] ??= {})
    for (const [file, { seconds, tests }] of this.#took)
      machine[nameOf(file)] = { seconds: Math.ceil(seconds), tests }
  }
}

const sorted = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)))

/** Writes what is known now, without the files that are gone. */
export const saveTimes = (exists) => {
  const kept = Object.entries(known).map(([machine, files]) => [
    machine,
    sorted(Object.fromEntries(Object.entries(files).filter(([name]) => exists(name)))),
  ])
  writeFileSync(FILE, `${JSON.stringify(sorted(Object.fromEntries(kept)), null, 2)}\n`)
}
