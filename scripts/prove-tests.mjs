// `npm run prove-tests -- [--filter TEXT] [--host] [--only-old]`: shows of each test that docs/field-cases.md names that it fails on the
// sources from before, and passes on today's. Rows that begin with "Held:" were right before, and are not asked for.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runBatch } from './lib/batch.mjs'
import { rowsOf } from './lib/claims.mjs'
import { provedDoctests } from './lib/doctest.mjs'
import { MACHINES } from './lib/machines.mjs'
import { buildOld, oldTree, whyNoCommit } from './lib/old-tree.mjs'
import {
  prepareAddon,
  prepareExamples,
  prepareLibrary,
  prepareModules,
  prepareTypeScript,
} from './lib/prepare.mjs'
import { ROOT } from './lib/process.mjs'
import { plural, say, style } from './lib/say.mjs'
import { ownTemporaryFolder } from './lib/scratch.mjs'

/** What the cases were found on. */
const BEFORE = '59a73dc'

const { values } = parseArgs({
  options: {
    filter: { type: 'string' },
    host: { type: 'boolean', default: false },
    'only-old': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const HELP = `npm run prove-tests -- [options]

Runs the tests of docs/field-cases.md on the sources of ${BEFORE} and on today's.

  --filter TEXT   only cases whose row holds that text
  --host          without those that need the rig
  --only-old      only on the old sources
  --help          this text`

const HELD = /^Held: /
const compiled = (file) => `out/${file.replace(/\.ts$/, '.js')}`

/** The machines that can run a case's test; undefined is this one. */
const placesOf = ({ file }) => {
  const machines = MACHINES.filter(({ takes }) => takes(compiled(file)))
  return machines.length > 0 ? machines : [undefined]
}

/**
 * @typedef {{ ending: string, machine?: import('./lib/machines.mjs').Machine }} Ran
 * @typedef {{ id: number, places: (import('./lib/machines.mjs').Machine | undefined)[], heading: string, cells: string[], file: string,
 *   title: string, line: string, old?: Ran, new?: Ran }} Case
 */

/** @returns {Case[]} */
const cases = () =>
  rowsOf(readFileSync(join(ROOT, 'docs', 'field-cases.md'), 'utf8'))
    .filter(({ cells, file, line }) => {
      const wanted = values.filter === undefined || line.includes(values.filter)
      return file !== undefined && !HELD.test(cells[1] ?? '') && wanted
    })
    .map((row, index) => ({ ...row, id: index, places: row.file.endsWith('.cc') ? [] : placesOf(row) }))
    .filter(({ places }) => !values.host || places.every((machine) => machine === undefined))

/** One job for each file: loading it is what takes longest. */
const jobsOf = (chosen, cwd) =>
  [...new Set(chosen.map(({ file }) => file))].map((file) => ({
    id: file,
    cwd,
    file: compiled(file),
    titles: [...new Set(chosen.filter((each) => each.file === file).map(({ title }) => title))],
  }))

/** Runs cases in one place, and notes how each ended under `which`. */
const runIn = async (chosen, machine, cwd, which) => {
  const jobs = jobsOf(chosen, cwd)
  let done = 0
  say(`${which} sources, ${machine?.name ?? 'here'}: ${plural(jobs.length, 'file')}`)
  await runBatch(jobs, {
    machine,
    told: (file, outcome) => {
      done += 1
      for (const each of chosen.filter((one) => one.file === file)) {
        each[which] = { ending: outcome.of(each.title), machine }
        console.log(`  ${done}/${jobs.length} ${each[which].ending.padEnd(14)} ${file} › ${each.title}`)
      }
    },
  })
}

const FAILURES = ['failed', 'did not end', 'could not load']

/** In every place that can show it, until one does. */
const runOld = async (all, cwd) => {
  for (const machine of [undefined, ...MACHINES]) {
    const chosen = all.filter(
      ({ places, old }) => places.includes(machine) && !FAILURES.includes(old?.ending),
    )
    // Skipped or passed here may have failed elsewhere, and not the other way about.
    if (chosen.length > 0) await runIn(chosen, machine, cwd, 'old')
  }
}

/** Where the old sources failed. */
const runNew = async (all) => {
  for (const machine of [undefined, ...MACHINES]) {
    const chosen = all.filter(
      ({ places, old }) => places.length > 0 && (old === undefined ? places[0] : old.machine) === machine,
    )
    if (chosen.length > 0) await runIn(chosen, machine, ROOT, 'new')
  }
}

/** @param {Partial<Case>} each */
const verdict = ({ old, new: today }) =>
  FAILURES.includes(old.ending) && (values['only-old'] || today?.ending === 'passed')

const print = (all) => {
  const rows = [
    ['old', 'new', 'case'],
    ...all.map((each) => [each.old.ending, each.new?.ending ?? '-', `${each.file} › ${each.title}`]),
  ]
  const width = (column) => Math.max(...rows.map((row) => row[column].length))
  const widths = [width(0), width(1)]
  console.log()
  for (const [index, [old, today, what]] of rows.entries()) {
    const line = `${old.padEnd(widths[0])}  ${today.padEnd(widths[1])}  ${what}`
    console.log(index === 0 || verdict(all[index - 1]) ? line : style('red', line))
  }
}

const main = async () => {
  if (values.help) return console.log(HELP)
  const all = cases()
  if (all.length === 0) throw new Error('no row of docs/field-cases.md names such a test')
  const why = whyNoCommit(BEFORE)
  if (why !== undefined) throw new Error(why)
  ownTemporaryFolder('run')
  prepareModules()
  const folder = oldTree(BEFORE)
  const errors = buildOld(folder)
  const unfit = [...errors.keys()].filter((file) => all.some((each) => each.file === file))
  if (unfit.length > 0)
    say(`of the tests, the compiler refuses ${unfit.join(', ')}; what it makes of them is tried nevertheless`)
  await runOld(
    all.filter(({ places }) => places.length > 0),
    folder,
  )
  const native = all.filter(({ places }) => places.length === 0)
  await provedDoctests(native, folder, 'old')
  if (!values['only-old']) {
    prepareAddon()
    prepareTypeScript()
    prepareLibrary()
    prepareExamples()
    await runNew(all)
    await provedDoctests(native, ROOT, 'new')
  }
  print(all)
  const bad = all.filter((each) => !verdict(each))
  const unloaded = all.filter(({ old }) => old.ending === 'could not load').length
  console.log()
  if (unloaded > 0)
    console.log(`${unloaded} of them could not load on the old sources: what they import is new`)
  console.log(`${all.length - bad.length} proved, ${bad.length} not`)
  process.exitCode = bad.length === 0 ? 0 : 1
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
