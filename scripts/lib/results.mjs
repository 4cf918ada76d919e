// What suites found, and how a run is summed up: a table, every skip with its reason, every failure with what is known of
// it (the end of a log is what one sees of it first), and the line that counts.

import { style } from './say.mjs'

export class Results {
  passed = 0
  failures = []
  skips = []
  seconds = 0

  constructor(name) {
    this.name = name
  }

  pass() {
    this.passed += 1
  }

  /** `details` are lines that say more; one may still add to them. */
  fail(title, details = []) {
    this.failures.push({ title, details })
  }

  /** A skip without a reason is a failure: nobody could tell whether it matters. */
  skip(title, reason) {
    if (reason) this.skips.push({ title: `${title}: ${reason}`, details: [] })
    else this.fail(`${title}: skipped without a reason`)
  }

  /** What was found so far does not count: the suite runs again. */
  forget() {
    this.passed = 0
    this.failures = []
    this.skips = []
  }

  /** What a part of the suite found. */
  add(part) {
    this.passed += part.passed
    this.failures.push(...part.failures)
    this.skips.push(...part.skips)
    this.seconds += part.seconds
  }

  get total() {
    return this.passed + this.failures.length + this.skips.length
  }
}

/** Runs one suite: its time is taken, what it throws is a failure, and so is finding nothing to test. */
export const runSuite = async (name, body) => {
  const results = new Results(name)
  const start = performance.now()
  try {
    await body(results)
  } catch (error) {
    results.fail(error.stack ?? String(error))
  }
  results.seconds = (performance.now() - start) / 1000
  if (results.total === 0) results.fail('no test ran')
  return results
}

const table = (rows) => {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
  )
}

// Enough for the backtraces of a kernel; what matters comes first.
const DETAIL_LINES = 100

const shortened = (lines) =>
  lines.length <= DETAIL_LINES
    ? lines
    : [...lines.slice(0, DETAIL_LINES), `(${lines.length - DETAIL_LINES} lines more, above)`]

const list = (title, suites, entries) => {
  if (suites.every((suite) => entries(suite).length === 0)) return
  console.log(`\n${title}`)
  for (const suite of suites) {
    for (const { title, details } of entries(suite)) {
      console.log(`  ${suite.name}: ${title}`)
      for (const line of shortened(details)) console.log(`      ${line}`)
    }
  }
}

/** Prints the summary, whose last line is for programs, and sets the exit status. */
export const report = (suites) => {
  const sum = (count) => suites.reduce((total, suite) => total + count(suite), 0)
  const failed = sum(({ failures }) => failures.length)
  list('Skipped', suites, ({ skips }) => skips)
  list('Failed', suites, ({ failures }) => failures)
  const rows = suites.map(({ name, passed, failures, skips, seconds }) => [
    name,
    String(passed),
    String(failures.length),
    String(skips.length),
    `${seconds.toFixed(1)} s`,
  ])
  console.log()
  for (const line of table([['suite', 'passed', 'failed', 'skipped', 'time'], ...rows])) console.log(line)
  const line = `${sum(({ passed }) => passed)} passed, ${failed} failed, ${sum(({ skips }) => skips.length)} skipped`
  console.log()
  console.log(style(failed === 0 ? 'green' : 'red', line))
  process.exitCode = failed === 0 ? 0 : 1
}
