// `npm run mutate -- [--seed N] [--count N] [--all] [--only ID] [--list]`: breaks lines of the product, one at a time in copies of the
// tree, and runs the tests that are to notice. What they do not notice survives, and is a failure.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runBatch } from './lib/batch.mjs'
import { runDoctest } from './lib/doctest.mjs'
import { MACHINES } from './lib/machines.mjs'
import { forget, mutantDoctests, MutantError, mutantTree } from './lib/mutants.mjs'
import { build, configure, whyNoNativeTests } from './lib/native.mjs'
import {
  prepareAddon,
  prepareExamples,
  prepareLibrary,
  prepareModules,
  prepareTypeScript,
} from './lib/prepare.mjs'
import { capture, ROOT } from './lib/process.mjs'
import { report, runSuite } from './lib/results.mjs'
import { plural, say } from './lib/say.mjs'
import { ownTemporaryFolder, scratchFolder } from './lib/scratch.mjs'

const HELP = `npm run mutate -- [options]

Breaks lines of test/mutations.json one at a time, and runs the tests that are to notice.

  --seed N     which ones are drawn; without it the commit decides
  --count N    how many are drawn (10)
  --all        all of them
  --only ID    that one; several times for several
  --host       none that need the rig
  --list       says which there are
  --help       this text`

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    count: { type: 'string', default: '10' },
    all: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    host: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const MUTATIONS = JSON.parse(readFileSync(join(ROOT, 'test', 'mutations.json'), 'utf8'))
/** Of ten. A machine has to boot for them, and everything is slow there. */
const MOST_IN_RIG = 2
const inRig = ({ where }) => MACHINES.some(({ name }) => name === where)

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
const random = (seed) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const seedOf = () => {
  if (values.seed !== undefined) return Number(values.seed)
  const commit = capture('git', ['rev-parse', '--short=7', 'HEAD'])
  return commit === undefined ? Math.floor(Date.now() / 86_400_000) : Number.parseInt(commit, 16)
}

const draw = (from) => {
  const seed = seedOf()
  const count = Number(values.count)
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(count) || count < 1)
    throw new RangeError('--seed is a whole number, --count one of at least 1')
  say(`${count} of ${from.length}, drawn with --seed ${seed}`)
  const next = random(seed)
  const shuffled = from
    .map((mutation) => [next(), mutation])
    .sort(([a], [b]) => a - b)
    .map(([, mutation]) => mutation)
  // One boot serves all of one machine.
  const machine = shuffled.find(inRig)?.where
  const rig = shuffled.filter((mutation) => mutation.where === machine).slice(0, MOST_IN_RIG)
  const host = shuffled.filter((mutation) => !inRig(mutation))
  return [...rig, ...host].slice(0, count)
}

const choose = () => {
  const possible = values.host ? MUTATIONS.filter((mutation) => !inRig(mutation)) : MUTATIONS
  if (values.only !== undefined) {
    const unknown = values.only.find((id) => !MUTATIONS.some((mutation) => mutation.id === id))
    if (unknown !== undefined) throw new RangeError(`--only ${unknown}: --list says which there are`)
    return MUTATIONS.filter(({ id }) => values.only.includes(id))
  }
  return values.all ? possible : draw(possible)
}

const split = (test) => {
  const [file, title] = test.split(' › ')
  return { file: `out/${file.replace(/\.ts$/, '.js')}`, title }
}

/** The tests of a mutation as jobs, one for each file; `cwd` is the tree that they judge. */
const jobsOf = (id, tests, cwd) => {
  const files = new Map()
  for (const { file, title } of tests.map(split)) files.set(file, [...(files.get(file) ?? []), title])
  return [...files].map(([file, titles]) => ({
    id: `${id} ${file}`,
    cwd,
    file,
    titles: titles.includes(undefined) ? [] : titles,
  }))
}

/** How tests ended, in a Map of outcomes: the worst of them, or what keeps them from saying anything. */
const endingOf = (id, tests, outcomes) => {
  const endings = tests.map(split).map(({ file, title }) => {
    const outcome = outcomes.get(`${id} ${file}`)
    return title === undefined ? outcome.whole : outcome.of(title)
  })
  return ['failed', 'did not end', 'could not load', 'passed', 'not found', 'skipped'].find((each) =>
    endings.includes(each),
  )
}

const judge = (results, { id, file }, whole, mutant) => {
  const title = `${id} (${file})`
  if (whole === 'skipped') results.skip(title, 'its tests are skipped here')
  else if (whole !== 'passed') results.fail(`${title}: without it, its tests are not green (${whole})`)
  else if (mutant === 'passed' || mutant === 'skipped') results.fail(`${title}: survived`)
  else if (mutant === 'failed' || mutant === 'did not end') {
    console.log(`  caught ${title}`)
    results.pass()
  } else results.fail(`${title}: its tests cannot say (${mutant})`)
}

/** Those that tests run by ava notice, in one place: first all of those tests on the tree as it is, then on each mutant. */
const inPlace = async (results, mutations, machine) => {
  if (mutations.length === 0) return
  const folder = scratchFolder('mutants')
  const trees = new Map()
  for (const mutation of mutations) {
    const tree = join(folder, mutation.id)
    try {
      await mutantTree(tree, mutation)
      trees.set(mutation, tree)
    } catch (error) {
      if (!(error instanceof MutantError)) throw error
      results.fail(`${mutation.id}: ${error.message}`)
      console.log(`  ${mutation.id}: ${error.message}`)
    }
  }
  const whole = [...new Set([...trees.keys()].flatMap(({ tests }) => tests))]
  const jobs = [
    ...jobsOf('whole', whole, ROOT),
    ...[...trees].flatMap(([{ id, tests }, tree]) => jobsOf(id, tests, tree)),
  ]
  const told = (id, outcome) => {
    const endings = [...outcome.titles.values()]
    const failed = endings.filter((ending) => ending === 'failed').length
    console.log(
      `  ${id}: ${failed} of ${endings.length} failed${outcome.problem ? ` (${outcome.problem})` : ''}`,
    )
  }
  const outcomes = await runBatch(jobs, { machine, told, patience: machine === undefined ? 90 : 240 })
  for (const mutation of trees.keys())
    judge(
      results,
      mutation,
      endingOf('whole', mutation.tests, outcomes),
      endingOf(mutation.id, mutation.tests, outcomes),
    )
  forget(folder)
}

/** Those that the C++ unit tests notice. */
const inDoctests = (results, mutations) => {
  if (mutations.length === 0) return
  const reason = whyNoNativeTests()
  if (reason !== undefined) return results.skip(plural(mutations.length, 'mutation'), reason)
  const cmake = 'build-cmake'
  const problem = configure(cmake) ?? build(cmake, 'native_tests')
  if (problem !== undefined) return results.fail(problem)
  const folder = scratchFolder('mutants')
  for (const mutation of mutations) {
    const titles = mutation.tests.map((test) => test.split(' › ')[1])
    const worst = (program) => {
      const endings = titles.map((title) => runDoctest(program, title))
      return endings.find((ending) => ending !== 'passed') ?? 'passed'
    }
    try {
      const program = mutantDoctests(join(folder, mutation.id), mutation, join(ROOT, cmake))
      judge(results, mutation, worst(join(ROOT, cmake, 'native_tests')), worst(program))
    } catch (error) {
      if (!(error instanceof MutantError)) throw error
      results.fail(`${mutation.id}: ${error.message}`)
    }
  }
  forget(folder)
}

const main = async () => {
  if (values.help) return console.log(HELP)
  if (values.list) {
    for (const { id, file, where } of MUTATIONS) console.log(`${id}  ${where}  ${file}`)
    return
  }
  const chosen = choose()
  ownTemporaryFolder('run')
  prepareModules()
  prepareAddon()
  prepareTypeScript()
  if (chosen.some(({ where }) => where !== 'native')) {
    prepareLibrary()
    prepareExamples()
  }
  const suites = []
  const suite = async (name, where, body) => {
    const mutations = chosen.filter((mutation) => mutation.where === where)
    if (mutations.length === 0) return
    say(`${name}: ${mutations.map(({ id }) => id).join(', ')}`)
    suites.push(await runSuite(`mutate:${name}`, (results) => body(results, mutations)))
  }
  await suite('native', 'native', inDoctests)
  await suite('host', 'host', (results, mutations) => inPlace(results, mutations))
  for (const machine of MACHINES)
    await suite(machine.name, machine.name, (results, mutations) => inPlace(results, mutations, machine))
  report(suites)
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
