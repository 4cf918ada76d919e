// The programs that docs/kvm.md and docs/vmm.md print in full, run as they are printed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { ExecutionContext } from 'ava'

import { read } from '../unit/claims.js'
import { kvmTest } from './support.js'

/** Only to end what would never end. */
const LONGEST_MS = 240_000

/** The only program of a page. */
function programOf(page: string): string {
  const [program = '', ...others] = [...read(page).matchAll(/^```js\n([^]*?)^```/gm)].map(([, code]) => code)
  if (others.length > 0) throw new Error(`${page} has several programs`)
  return program
}

/** Runs a program in a process of its own, with the package by its name being the one under test. */
async function run(t: ExecutionContext, program: string): Promise<string> {
  t.timeout(LONGEST_MS)
  const code = program.replaceAll(/'node-vfio(\/\w+)?'/g, (_, part = '') =>
    JSON.stringify(new URL(`../../ts${String(part)}/index.js`, import.meta.url).href),
  )
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LONGEST_MS,
  })
  const [stdout, stderr, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ])
  t.is(stderr, '')
  t.is(status, 0)
  return stdout
}

kvmTest('the first program of docs/kvm.md says what its guest writes to a port', async (t) => {
  t.is(await run(t, programOf('docs/kvm.md')), 'port 0x3f8: H\nport 0x3f8: i\n')
})

kvmTest(
  'the first VMM of docs/vmm.md has sixty lines, and its guest prints and turns itself off',
  async (t) => {
    const program = programOf('docs/vmm.md')
    t.true(program.split('\n').filter((line) => line.trim() !== '').length <= 60)
    t.is(await run(t, program), 'Hello from a guest\nthe guest has ended: off, by the guest\n')
  },
)
