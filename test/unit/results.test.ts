// What `npm test` makes of what a runner says: counted, with the details of a failure kept for the summary, and a runner
// or a machine that dies half-way never taken for a good end.
import test from 'ava'

import { inChild } from './support.js'

// The scripts are not compiled: they lie beside the sources.
const script = (path: string): string => new URL(path, import.meta.resolve('#package.json')).href

interface Outcome {
  passed: number
  skips: { title: string }[]
  failures: { title: string; details: string[] }[]
}

/** Feeds lines to the reader; `more` goes on with it. */
async function outcome(lines: readonly string[], more: string): Promise<Outcome> {
  const { stdout, stderr } = await inChild(
    `const { Results } = await import(${JSON.stringify(script('scripts/lib/results.mjs'))})
    const { TapReader } = await import(${JSON.stringify(script('scripts/lib/tap.mjs'))})
    const { gistOf } = await import(${JSON.stringify(script('rig/postmortem.mjs'))})
    const results = new Results('suite')
    const reader = new TapReader(results, { quiet: true })
    const read = (lines) => { for (const line of lines) reader.line(line) }
    read(${JSON.stringify(lines)})
    ${more}
    console.log(JSON.stringify(results))`,
    { bare: true },
  )
  const said = stdout.trimEnd().split('\n').at(-1)
  if (!said?.startsWith('{')) throw new Error(stderr)
  return JSON.parse(said) as Outcome
}

const HALF = ['TAP version 13', 'ok 1 - one', 'not ok 2 - two', '  ---', '    at: there', '  ...']
const WHOLE = [...HALF, 'ok 3 - three (needs a moon) # SKIP', '1..3']

test('a failure keeps its details, a skip its reason', async (t) => {
  const { passed, failures, skips } = await outcome(WHOLE, 'reader.end("exit status 1")')
  t.is(passed, 1)
  t.deepEqual(failures, [{ title: 'two', details: ['    at: there'] }])
  t.deepEqual(
    skips.map(({ title }) => title),
    ['three (needs a moon): needs a moon'],
  )
})

test('a stream without an end is a failure, with what is known of it', async (t) => {
  const { failures } = await outcome(HALF, 'reader.end("exit status 125", ["task 7"])')
  t.deepEqual(failures.at(-1), {
    title: 'the test runner stopped before its end, after "two" (exit status 125)',
    details: ['task 7'],
  })
})

test('a good stream of a runner that ended badly is a failure', async (t) => {
  const { failures } = await outcome(['ok 1 - one', '1..1'], 'reader.end("exit status 1", ["why"])')
  t.deepEqual(failures, [{ title: 'exit status 1', details: ['why'] }])
})

test('what a machine said before it was replaced does not count', async (t) => {
  const { passed, failures } = await outcome(
    HALF,
    "reader.again(); read(['ok 1 - one', 'ok 2 - two', '1..2']); reader.end()",
  )
  t.is(passed, 2)
  t.deepEqual(failures, [])
})

test('of a machine that died, what tells most comes first, and sleepers once with their number', async (t) => {
  const { failures } = await outcome(
    HALF,
    `reader.end('went silent', gistOf([
      '[    0.5] pci 0000:00:10.0: nothing of interest',
      'rig: task 6 node: S in futex_wait, system call 202',
      'rig: task 7 node: S in futex_wait, system call 202',
      'rig: task 8 node: D in vfio_device_fops_release, system call 3',
      'rig:    vfio_device_fops_release+0x1/0x2',
      '[    1.5]  ? guessed+0x1/0x2',
      '[    1.5]  certain+0x1/0x2',
      'qemu: CPU#0',
    ]))`,
  )
  t.deepEqual(failures.at(-1)?.details, [
    'rig: task 8 node: D in vfio_device_fops_release, system call 3',
    'rig:    vfio_device_fops_release+0x1/0x2',
    ' certain+0x1/0x2',
    'qemu: CPU#0',
    '2 x node: S in futex_wait, system call 202',
  ])
})

test('one is one, and two are several', async (t) => {
  const { stdout } = await inChild(
    `const { plural } = await import(${JSON.stringify(script('scripts/lib/say.mjs'))})
    console.log([0, 1, 2].map((count) => plural(count, 'error')).join())`,
    { bare: true },
  )
  t.is(stdout, '0 errors,1 error,2 errors\n')
})
