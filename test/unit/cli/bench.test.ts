// `vfio bench`: one quick row measured for real, with the limit compiled by this machine's compiler and without one.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { cacheFolder, Compiler, findCompiler } from '../../../ts/measure/compiler.js'
import { ROW_NAMES } from '../../../ts/measure/rows.js'
import { benchText } from '../../../ts/cli/bench.js'
import type { BenchOutput } from '../../../ts/cli/output.js'
import { temporaryFolder } from '../../temporary.js'
import { SANITIZED } from '../support.js'
import { cliTest } from './run.js'
import { ROOT } from './schemas.js'

/** For the tests of this file that change it, which are serial. */
async function withEnvironment<T>(changes: Record<string, string>, body: () => Promise<T>): Promise<T> {
  const before = { ...process.env }
  Object.assign(process.env, changes)
  try {
    return await body()
  } finally {
    process.env = before
  }
}

const ROW = {
  unit: 'ns',
  limit: null,
  peer: null,
  peerName: null,
  ratioToLimit: null,
  ratioToPeer: null,
  runs: 3,
  spread: { ours: null, limit: null, peer: null, ratioToLimit: null, ratioToPeer: null },
}

test('a reason that several rows share is told once, beneath the table', (t) => {
  t.is(
    benchText([
      { ...ROW, name: 'a', ours: 12.345, reason: 'limit: none here' },
      { ...ROW, name: 'b', ours: 1234.5, limit: 1000, ratioToLimit: 1.2345 },
      { ...ROW, name: 'c', ours: null, reason: 'limit: none here' },
    ]),
    '   UNIT  HERE   C++ LIMIT  RATIO\n' +
      'a  ns    12.3   -          -\n' +
      'b  ns    1,235  1,000      1.23\n' +
      'c  ns    -      -          -\n' +
      '\na, c:\n  limit: none here\n',
  )
})

test('CXX is the compiler, and the only one', (t) => {
  const path = process.env.PATH ?? ''
  t.deepEqual(findCompiler({ CXX: 'no-such-compiler', PATH: path }), {
    none: 'CXX is no-such-compiler, which is no program here',
  })
  t.is(findCompiler({ CXX: process.execPath, PATH: '' }), process.execPath)
  const nothing = findCompiler({ PATH: temporaryFolder(t, 'bench-test') })
  t.regex((nothing as { none: string }).none, /no C\+\+ compiler: install one \(apt install g\+\+/)
})

test('the cache is where XDG_CACHE_HOME says, if that is absolute', (t) => {
  t.is(cacheFolder({ XDG_CACHE_HOME: '/a' }), '/a/node-vfio/bench')
  t.true(cacheFolder({ XDG_CACHE_HOME: 'a' }).endsWith('/.cache/node-vfio/bench'))
})

test('what does not compile is told, and leaves nothing behind', (t) => {
  const folder = temporaryFolder(t, 'bench-test')
  const said: string[] = []
  const compiler = new Compiler({
    env: { CXX: '/bin/false', XDG_CACHE_HOME: folder },
    say: (text) => said.push(text),
  })
  t.deepEqual(compiler.program('eventfd-signal'), { none: 'eventfd-signal did not compile: status 1' })
  t.is(said.length, 1)
  const [kept] = readdirSync(join(folder, 'node-vfio', 'bench'))
  t.deepEqual(readdirSync(join(folder, 'node-vfio', 'bench', kept ?? '')), [])
})

test('each limit has its source in the package', (t) => {
  const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { files: string[] }
  const rows = readFileSync(join(ROOT, 'ts/measure/rows.ts'), 'utf8')
  const programs = [...rows.matchAll(/tools\.(?:limit|samples)\('([^']+)'/g)].map(([, name]) => name)
  t.true(programs.length >= 4)
  for (const name of programs) t.true(files.includes(`bench/baseline/${name}.cc`), name)
})

cliTest('a name that no row has is told, with status 2', async (t, { vfio }) => {
  const { status, out, err } = await vfio('bench', '--only', 'warp')
  t.is(status, 2)
  t.is(out, '')
  t.true(err.startsWith(`vfio: no row begins with "warp": there are ${ROW_NAMES[0]}, `))
})

if (process.platform === 'linux') {
  const measure = async (
    t: ExecutionContext,
    environment: Record<string, string>,
  ): Promise<{ row: BenchOutput['rows'][number]; err: string }> => {
    const { run } = await import('../../../ts/cli/program.js')
    const { checkOutput } = await import('./schemas.js')
    let out = ''
    let err = ''
    const status = await withEnvironment(environment, () =>
      run(['bench', '--only', 'eventfd.signal', '--runs', '3', '--json'], {
        host: {},
        out: (text) => (out += text),
        redraw: () => undefined,
        outBytes: () => undefined,
        err: (text) => (err += text),
        color: false,
        columns: null,
        uid: 1000,
        onInterrupt: () => () => undefined,
      }),
    )
    t.is(status, 0)
    checkOutput(out)
    const { rows } = JSON.parse(out) as BenchOutput
    t.deepEqual(
      rows.map(({ name }) => name),
      ['eventfd.signal'],
    )
    return { row: rows[0]!, err }
  }

  test.serial('a row beside its limit, which is compiled once', async (t) => {
    // Under the sanitizers, their library would be in the compiler too.
    const environment = {
      XDG_CACHE_HOME: temporaryFolder(t, 'bench-test'),
      ...(SANITIZED ? { LD_PRELOAD: '' } : {}),
    }
    const { row, err } = await measure(t, environment)
    t.regex(err, /compiling eventfd-signal into .*\/node-vfio\/bench\//)
    t.is(row.runs, 3)
    t.true(row.ours! > 0 && row.limit! > 0 && row.ratioToLimit! > 0)
    t.is(row.reason, undefined)
    t.notRegex((await measure(t, environment)).err, /compiling/)
  })

  test.serial('without a compiler our figure stands alone, and why is told', async (t) => {
    const empty = temporaryFolder(t, 'bench-test')
    const { row, err } = await measure(t, { PATH: empty, CXX: '', XDG_CACHE_HOME: empty })
    t.regex(err, /without the C\+\+ limits: there is no C\+\+ compiler: install one/)
    t.true(row.ours! > 0)
    t.is(row.limit, null)
    t.regex(row.reason ?? '', /^limit: there is no C\+\+ compiler/)
    t.deepEqual(readdirSync(empty), [])
  })
}
