// Runs single tests by file and title, many one after another, on the host or in one boot of the rig, and says of each title how it
// ended. A test that takes its runner or its machine along costs the others nothing. It must not know why they run.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { partsOf, patternOf } from './claims.mjs'
import { Lines, ROOT, runLines } from './process.mjs'
import { scratchFolder } from './scratch.mjs'

/** How the lines of the program below begin that are not of a test runner. */
export const MARK = '@batch '
const MAIN = join(ROOT, 'scripts', 'lib', 'batch-main.mjs')
const TEST = /^(not )?ok\b(?: +\d+)?(?: +- )?(.*?)(\s+# (?:SKIP|TODO)\b.*)?$/
/** What Node and ava say when a file cannot be imported. */
const UNLOADED =
  /does not provide an export named|ERR_MODULE_NOT_FOUND|Cannot find (?:module|package)|SyntaxError|is not a constructor|Class extends value/

/** What ava reports of a file, where the title of a test would be. */
const NO_TEST = /^(?:file:\/)?\/\S+:\d+$|^\S+\.test\.js exited |^No tests found in /

// Seconds. In the rig everything is some ten times slower.
const PATIENCE = { host: 300, rig: 600 }
const BOOT = 120

/** What became of one job. */
class Outcome {
  titles = new Map()
  output = []
  problem
  #planned = false
  #died = false

  /** Whether the runner came to its end, so that a title it did not tell is one that there is not. */
  get #complete() {
    return this.#planned && !this.#died
  }

  line(line) {
    if (/^1\.\.\d+$/.test(line)) this.#planned = true
    if (/\.test\.js exited /.test(line)) this.#died = true
    const test = TEST.exec(line)
    if (test && NO_TEST.test(test[2])) this.output.push(line)
    else if (test) this.titles.set(test[2], test[3] ? 'skipped' : test[1] ? 'failed' : 'passed')
    else if (this.output.length < 400) this.output.push(line)
  }

  /** How the test of that title ended; of a title that a template makes, all of them. */
  of(title) {
    const exact = this.titles.get(title)
    if (exact !== undefined) return exact
    const made = new RegExp(patternOf(title))
    const close = [...this.titles].filter(([name]) => made.test(name)).map(([, ending]) => ending)
    return this.#worst(close)
  }

  /** How the whole file ended. */
  get whole() {
    const endings = [...this.titles.values()]
    // Without an end, those that had passed say nothing of the others.
    return this.problem !== undefined && !endings.includes('failed') ? this.#worst([]) : this.#worst(endings)
  }

  #worst(endings) {
    for (const ending of ['failed', 'passed', 'skipped']) if (endings.includes(ending)) return ending
    if (this.output.some((line) => UNLOADED.test(line))) return 'could not load'
    return this.problem === undefined || this.#complete ? 'not found' : 'did not end'
  }
}

/** Reads what batch-main.mjs writes. */
class Reader {
  outcomes = new Map()
  #job
  #told

  constructor(told) {
    this.#told = told
  }

  get current() {
    return this.#job
  }

  line(line) {
    if (!line.startsWith(MARK)) {
      if (this.#job !== undefined) this.outcomes.get(this.#job).line(line)
      return
    }
    const { begin, end, problem } = JSON.parse(line.slice(MARK.length))
    if (begin !== undefined) {
      this.#job = begin
      this.outcomes.set(begin, new Outcome())
    } else if (end !== undefined) {
      this.finish(problem ?? undefined)
    }
  }

  finish(problem) {
    const outcome = this.outcomes.get(this.#job)
    if (outcome === undefined) return
    outcome.problem = problem
    this.#told?.(this.#job, outcome)
    this.#job = undefined
  }
}

const inRig = async (args, machine, timeout, line) => {
  const { runInRig } = await import('../../rig/index.mjs')
  const lines = new Lines(line)
  const { status, reason } = await runInRig({
    kernel: machine.kernel,
    iommu: machine.iommu,
    sriov: machine.sriov,
    command: [process.execPath, ...args],
    cwd: ROOT,
    timeout,
    stdout: new Writable({
      decodeStrings: false,
      write(chunk, _encoding, done) {
        lines.write(String(chunk))
        done()
      },
    }),
    // A test that fails is expected to say why; here it only matters that it did.
    stderr: new Writable({ write: (_chunk, _encoding, done) => done() }),
  })
  lines.end()
  return status === 0 ? undefined : (reason ?? `exit status ${status} from the rig`)
}

/**
 * Runs jobs `{ id, cwd, file, titles, env }`: `file` is the compiled test below `cwd`, and without `titles` all of its tests run. `machine`
 * is one of machines.mjs; without it they run here. Calls `told(id, outcome)` as each ends, and resolves to a Map of them.
 * @param {{ id: string, cwd: string, file: string, titles?: string[], env?: object }[]} jobs
 * @param {{ machine?: import('./machines.mjs').Machine, told?: (id: string, outcome: Outcome) => void, patience?: number }} options
 */
export const runBatch = async (jobs, { machine, told, patience } = {}) => {
  const seconds = patience ?? (machine === undefined ? PATIENCE.host : PATIENCE.rig)
  const reader = new Reader(told)
  let left = jobs
  while (left.length > 0) {
    const list = join(scratchFolder('batch'), 'jobs.json')
    // A title may be part of one that a template makes, or the template.
    const jobsWith = left.map(({ titles = [], ...job }) => ({
      ...job,
      matches: titles.map((title) => ['', ...partsOf(title), ''].join('*')),
    }))
    writeFileSync(list, JSON.stringify({ seconds, jobs: jobsWith }))
    const args = [MAIN, list]
    const line = (text) => reader.line(text)
    const problem =
      machine === undefined
        ? await runLines(process.execPath, args, line, { quiet: true })
        : await inRig(args, machine, BOOT + seconds * left.length, line)
    // It died in the middle of a job: that one is answered, and the rest begin anew.
    const cut = reader.current ?? left.find(({ id }) => !reader.outcomes.has(id))?.id
    if (cut !== undefined && !reader.outcomes.has(cut))
      reader.line(`${MARK}${JSON.stringify({ begin: cut })}`)
    if (cut !== undefined) reader.finish(problem ?? 'the runner stopped')
    left = left.filter(({ id }) => !reader.outcomes.has(id))
  }
  return reader.outcomes
}
