// Journals that are damaged, or another host's: named, left alone, and no hindrance to any command.
import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EDU, NVME } from '../merged/change.js'
import { type ChangeCli, changeCliTest } from './changes.js'

const state = ({ tree }: ChangeCli): string => tree.path('var/lib/node-vfio')
const journal = (cli: ChangeCli, id: number): string => join(state(cli), `${id}.journal`)

changeCliTest('a line that is no line of a journal hides neither it nor others', async (t, cli) => {
  const { vfio, photograph } = cli
  const before = photograph()
  await vfio('bind', NVME)
  for (const line of [
    'null',
    '5',
    '[]',
    '"x"',
    '{}',
    '{"line":"begin"}',
    '{"line":"seen","index":-1}',
    '{"line":"what"}',
  ])
    appendFileSync(journal(cli, 1), `\n${line}\n`)
  t.is((await vfio('bind', EDU)).status, 0)
  t.regex((await vfio('undo', '--list')).out, /^1 .*applied.*\n2 .*applied/m)
  t.is((await vfio('undo')).status, 0)
  t.is((await vfio('undo', '1')).status, 0)
  t.deepEqual(photograph(), before)
})

changeCliTest('a line that is lost in the middle loses no step', async (t, cli) => {
  const { vfio, photograph } = cli
  const before = photograph()
  await vfio('bind', NVME)
  const lines = readFileSync(journal(cli, 1), 'utf8').split('\n')
  // All that tells of the second step, the override.
  const damaged = lines.map((line) =>
    line.includes('"index":1') ? line.replace('"index"', '"ind\u0001x"') : line,
  )
  writeFileSync(journal(cli, 1), damaged.join('\n'))
  t.is((await vfio('undo', '1')).status, 0)
  t.deepEqual(photograph(), before)
})

for (const [title, damage] of [
  [
    'a garbled plan is named by every command and stops none',
    (text: string) => text.replace('{"line":"plan"', '{"lune":"plan"'),
  ],
  [
    'a plan without steps is named by every command and stops none',
    (text: string) => text.replace('"steps"', '"stops"'),
  ],
  ['a cut plan is named by every command and stops none', (text: string) => text.replace(/"summary".*/, '')],
  [
    'a journal of zeros is named by every command and stops none',
    (text: string) => text.replace(/\{"line":"plan".*/, (line) => '\0'.repeat(line.length)),
  ],
] as const) {
  changeCliTest(title, async (t, cli) => {
    const { vfio } = cli
    t.is((await vfio('bind', NVME)).status, 0)
    writeFileSync(journal(cli, 1), damage(readFileSync(journal(cli, 1), 'utf8')))
    t.regex((await vfio('undo', '--list')).out, /^1 +- +damaged .*1\.journal/m)
    const { changes, damaged } = JSON.parse((await vfio('undo', '--list', '--json')).out) as {
      changes: unknown[]
      damaged: { id: number }[]
    }
    t.deepEqual(changes, [])
    t.like(damaged, [{ id: 1 }])
    const other = await vfio('bind', EDU)
    t.is(other.status, 0)
    t.regex(other.err, /journal of an earlier change is damaged .*1\.journal/)
    const undone = await vfio('undo', '1')
    t.is(undone.status, 1)
    t.regex(undone.err, /journal is damaged[^]*by hand/)
    // It is the last of those that can be taken back, and not the damaged one.
    t.is((await vfio('undo')).status, 0)
    t.regex((await vfio('undo')).err, /There is no change to undo/)
  })
}

changeCliTest('a journal that was cut off before its plan was whole tells of nothing', async (t, cli) => {
  const { vfio } = cli
  await vfio('bind', NVME)
  const text = readFileSync(journal(cli, 1), 'utf8').trim()
  await vfio('undo')
  for (const cut of ['', '\n', '\n{"li', text.slice(0, 200), `${text.slice(0, 100)}\0\0\0`]) {
    writeFileSync(journal(cli, 7), cut)
    t.is((await vfio('undo', '--list')).out, 'no changes to undo\n', JSON.stringify(cut))
  }
})

changeCliTest("another host's changes in the same state folder are named and left alone", async (t, cli) => {
  const { tree, vfio, photograph } = cli
  const before = photograph()
  tree.file('etc/machine-id', '0123456789abcdef0123456789abcdef')
  t.is((await vfio('bind', NVME)).status, 0)
  const bound = photograph()
  const boot = readFileSync(tree.path('proc/sys/kernel/random/boot_id'), 'utf8').trim()
  tree.file('etc/machine-id', 'fedcba9876543210fedcba9876543210')
  tree.file('proc/sys/kernel/random/boot_id', 'another')
  t.regex((await vfio('undo', '--list')).out, /^1 .*on another host/m)
  for (const args of [['undo'], ['undo', '1'], ['undo', '1', '--force']]) {
    const refused = await vfio(...args)
    t.is(refused.status, 1, args.join(' '))
    t.regex(refused.err, /another host|other hosts/, args.join(' '))
  }
  t.deepEqual(
    readdirSync(state(cli)).filter((name) => name.endsWith('.journal')),
    ['1.journal'],
  )
  tree.file('etc/machine-id', '0123456789abcdef0123456789abcdef')
  tree.file('proc/sys/kernel/random/boot_id', boot)
  t.deepEqual({ ...photograph() }, bound)
  t.is((await vfio('undo')).status, 0)
  rmSync(tree.path('etc/machine-id'))
  t.deepEqual(photograph(), before)
})
