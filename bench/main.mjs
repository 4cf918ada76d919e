// `npm run bench`: sets up what is missing, measures, reports. Runs on a fresh clone: only Node's own modules are
// imported before the set-up.

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const COMPILED = join(ROOT, 'build-bench', 'bench')
// Seconds. The processor in the rig is emulated.
const RIG_TIMEOUT = 1200

const HELP = `npm run bench -- [options]

  --json              print the rows as a JSON array on stdout, every sample included, and nothing else there
  --raw FILE          keep every single time that the latencies are made of: a line of JSON for each measurement
  --check             exit with status 1 when a figure is not what it must be
  --compare OLD.json  say of each row whether it is faster, slower or within noise, next to what --json printed once
  --report FILE.html  write a page with charts and a table, which needs nothing beside it
  --svg FOLDER        write the charts alone
  --from FILE.json    take the rows that --json printed once, and measure nothing
  --only NAME         measure only the rows whose names begin so: 'guest', 'eventfd.waiter.latency'
  --rig               fail when the rig, which the rows that need a device are measured in, does not start
  --no-rig            leave those rows out, with the reason
  --help              this text

Without --rig or --no-rig, those rows are measured if the rig starts. Each figure is the median of several measurements
that take turns with those of its limit (C++, or an empty Node-API call) and of its peer (the npm package that would be
used instead); a ratio is the median of the ratios within the turns.`

const say = (text) => process.stderr.write(`bench: ${text}\n`)

const setUp = () => {
  // Whatever it prints is news, not results.
  const { status } = spawnSync(process.execPath, [join(ROOT, 'bench', 'setup.mjs')], {
    stdio: ['ignore', 2, 2],
  })
  if (status !== 0) process.exit(1)
}

const load = (name) => import(join(COMPILED, `${name}.js`))

const bootRig = async (kernel) => {
  const { runInRig } = await import('../rig/index.mjs')
  const output = []
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      output.push(chunk)
      done()
    },
  })
  const command = [process.execPath, join(COMPILED, 'rig.js')]
  const { status } = await runInRig({ kernel, command, cwd: ROOT, timeout: RIG_TIMEOUT, stdout })
  if (status !== 0) throw new Error(`exit status ${status} from the rig`)
  return JSON.parse(Buffer.concat(output).toString())
}

const rigRows = async (kernel, { rig, 'no-rig': noRig }, without) => {
  if (noRig) return without('needs a device with VFIO; left out by --no-rig')
  if (kernel === 'built' && !rig && !(await import('../rig/index.mjs')).isBuilt())
    return without("needs the rig's own kernel, which nothing has compiled yet: --rig does")
  try {
    return await bootRig(kernel)
  } catch (error) {
    if (rig) throw error
    say(`without the rig's rows: ${error.message}`)
    return without(`needs a device with VFIO, and the rig did not run: ${error.message}`)
  }
}

/** Inside the rig there is nothing to boot, and nothing but devices worth measuring: its processor is emulated. */
const insideRig = () => {
  const { status, stdout } = spawnSync(process.execPath, [join(COMPILED, 'rig.js')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 2],
  })
  if (status !== 0) throw new Error(`exit status ${status}`)
  return JSON.parse(stdout)
}

const measure = async (options, thresholds) => {
  const { describeMachine } = await load('machine')
  const machine = describeMachine()
  const measuredHere = (rows) => rows.map((row) => ({ ...row, machine }))
  if (process.env.NODE_VFIO_RIG !== undefined) return measuredHere(insideRig())
  say(machine)
  const { hostRows } = await load('host')
  const inRig = (rows) =>
    rows.map((row) => (row.ours === null ? row : { ...row, machine: `the rig on ${machine}` }))
  const { only = '', raw } = options
  const { keepRawSamples, closeRawSamples } = await load('latency')
  if (raw !== undefined) keepRawSamples(raw)
  const here = measuredHere(await hostRows(say, only))
  closeRawSamples()
  const chosen = (rows) => rows.filter(({ name }) => name.startsWith(only))
  for (const kernel of ['stock', 'built']) {
    const without = (reason) => thresholds.rigRowsWithout(reason, kernel)
    // The rig is not booted for nothing.
    if (chosen(without('')).length > 0) here.push(...inRig(chosen(await rigRows(kernel, options, without))))
  }
  return here
}

const readFile = async (file) => (await load('compare')).readRows(readFileSync(file, 'utf8'), file)

const parse = () => {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean' },
      check: { type: 'boolean' },
      rig: { type: 'boolean' },
      'no-rig': { type: 'boolean' },
      help: { type: 'boolean' },
      compare: { type: 'string' },
      report: { type: 'string' },
      svg: { type: 'string' },
      from: { type: 'string' },
      only: { type: 'string' },
      raw: { type: 'string' },
    },
  })
  if (values.rig && values['no-rig']) throw new TypeError('--rig and --no-rig exclude each other')
  return values
}

/** What is wanted beside the rows. With --json, stdout is theirs. */
const tell = async ({ compare, report, svg, json }, rows, before) => {
  const { changes, describe } = await load('compare')
  const changed = compare === undefined ? [] : changes(rows, before)
  const print = json ? console.error : console.log
  for (const change of changed) print(describe(change))
  if (report === undefined && svg === undefined) return
  const { page, writeSvgs } = await load('report')
  if (report !== undefined) writeFileSync(report, page(rows, (await load('table')).cells(rows), changed))
  for (const file of svg === undefined ? [] : writeSvgs(svg, rows)) say(`wrote ${file}`)
  if (report !== undefined) say(`wrote ${report}`)
}

const main = async () => {
  const options = parse()
  if (options.help) {
    console.log(HELP)
    return
  }
  setUp()
  // Read first: a name that was mistyped should not cost a whole run.
  const before = options.compare === undefined ? [] : await readFile(options.compare)
  const thresholds = await load('thresholds')
  const rows = options.from === undefined ? await measure(options, thresholds) : await readFile(options.from)
  if (options.json) console.log(JSON.stringify(rows, null, 2))
  else console.log((await load('table')).table(rows))
  await tell(options, rows, before)
  if (!options.check) return
  const misses = thresholds.misses(rows)
  for (const miss of misses) say(miss)
  if (misses.length > 0) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  const usage =
    error.code?.startsWith('ERR_PARSE_ARGS') || error instanceof TypeError || error.code === 'ENOENT'
  say(usage ? `${error.message}; --help shows the options` : (error.stack ?? String(error)))
  process.exitCode = usage ? 2 : 1
}
