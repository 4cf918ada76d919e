// What suites found, and how a run is summed up: a table, every skip with its reason, every failure, and the line that
// counts.

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

  fail(title) {
    this.failures.push(title)
  }

  /** A skip without a reason is a failure: nobody could tell whether it matters. */
  skip(title, reason) {
    if (reason) this.skips.push(`${title}: ${reason}`)
    else this.fail(`${title}: skipped without a reason`)
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

const list = (title, suites, entries) => {
  if (suites.every((suite) => entries(suite).length === 0)) return
  console.log(`\n${title}`)
  for (const suite of suites) {
    for (const entry of entries(suite)) console.log(`  ${suite.name}: ${entry}`)
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
