// The example VMM as users start it: `npm run example:vmm`, with a guest of its own on /dev/kvm.
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'

import { kvmTest } from './support.js'

const PROGRAM = fileURLToPath(new URL('../../../scripts/example-vmm.mjs', import.meta.url))
/** Only to end what would never end: a busy machine takes its time. */
const LONGEST_MS = 20 * 60_000

interface Result {
  status: number | null
  stdout: string
  stderr: string
}

async function vmm(t: ExecutionContext, ...args: string[]): Promise<Result> {
  t.timeout(LONGEST_MS)
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LONGEST_MS,
  })
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve)
    child.once('error', reject)
  })
  const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  return { status, stdout, stderr }
}

// The addon, the library and the examples, where they are missing or old: by its first start, and not by the first test's.
test.before('what the example needs is there', async (t) => {
  const { status, stderr } = await vmm(t, '--help')
  t.is(status, 0, stderr)
})

kvmTest('the guest prints, and every interrupt and doorbell is counted on both sides', async (t) => {
  const { status, stdout, stderr } = await vmm(t, '--rounds', '5000')
  t.is(status, 0, stderr)
  t.regex(stdout, /^guest: processor 0 is up$/m)
  t.regex(stdout, /^guest: processor 0: interrupts taken: 5000, doorbells rung: 5000$/m)
  t.regex(stdout, /5000 interrupts sent, 5000 taken; 5000 doorbells rung, 5000 heard; none lost/)
})

kvmTest('several processors, which the first one starts', async (t) => {
  const { status, stdout, stderr } = await vmm(t, '--rounds', '1000', '--cpus', '3')
  t.is(status, 0, stderr)
  for (const cpu of [0, 1, 2]) {
    t.regex(
      stdout,
      new RegExp(`^guest: processor ${cpu}: interrupts taken: 1000, doorbells rung: 1000$`, 'm'),
    )
  }
})

test.serial('the help names every option', async (t) => {
  const { status, stdout } = await vmm(t, '--help')
  t.is(status, 0)
  for (const name of ['rounds', 'device', 'kernel', 'initrd', 'disk', 'cmdline', 'memory', 'cpus', 'help']) {
    t.true(stdout.includes(`--${name}`), name)
  }
})

test.serial('a wrong option ends with status 2 and the bound', async (t) => {
  const wrong: [string[], RegExp][] = [
    [['--nonsense'], /nonsense/],
    [['--cpus', '0'], /--cpus must be a whole number from 1 to 64, not "0"/],
    [['--cpus', '2', '--device', 'x'], /from 1 to 1/],
    [['--memory', '99999'], /from 1 to 2048/],
    [['--rounds', 'many'], /--rounds/],
    [['--initrd', 'x'], /need --kernel/],
    [['--disk', 'x'], /need --kernel/],
    [['--rounds', '5', '--kernel', 'x'], /without --kernel/],
  ]
  for (const [args, message] of wrong) {
    const { status, stderr } = await vmm(t, ...args)
    t.is(status, 2)
    t.regex(stderr, message)
  }
})

kvmTest('a kernel that is none ends with status 1 and says so', async (t) => {
  const { status, stderr } = await vmm(t, '--kernel', PROGRAM)
  t.is(status, 1)
  t.regex(stderr, /neither a bzImage nor an ELF vmlinux/)
})
