// The example VMM as users start it: `npm run example:vmm`, with a guest of its own on /dev/kvm.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import { kvmTest } from './support.js'

const PROGRAM = fileURLToPath(new URL('../../../scripts/example-vmm.mjs', import.meta.url))

interface Result {
  status: number | null
  stdout: string
  stderr: string
}

function vmm(...args: string[]): Result {
  return spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8', timeout: 120_000 })
}

kvmTest('the guest prints, and every interrupt and doorbell is counted on both sides', (t) => {
  const { status, stdout, stderr } = vmm('--rounds', '5000')
  t.is(status, 0, stderr)
  t.regex(stdout, /^guest: processor 0 is up$/m)
  t.regex(stdout, /^guest: processor 0: interrupts taken: 5000, doorbells rung: 5000$/m)
  t.regex(stdout, /5000 interrupts sent, 5000 taken; 5000 doorbells rung, 5000 heard; none lost/)
})

kvmTest('several processors, which the first one starts', (t) => {
  const { status, stdout, stderr } = vmm('--rounds', '1000', '--cpus', '3')
  t.is(status, 0, stderr)
  for (const cpu of [0, 1, 2]) {
    t.regex(
      stdout,
      new RegExp(`^guest: processor ${cpu}: interrupts taken: 1000, doorbells rung: 1000$`, 'm'),
    )
  }
})

test.serial('the help names every option', (t) => {
  const { status, stdout } = vmm('--help')
  t.is(status, 0)
  for (const name of ['rounds', 'device', 'kernel', 'initrd', 'disk', 'cmdline', 'memory', 'cpus', 'help']) {
    t.true(stdout.includes(`--${name}`), name)
  }
})

test.serial('a wrong option ends with status 2 and the bound', (t) => {
  const wrong: [string[], RegExp][] = [
    [['--nonsense'], /nonsense/],
    [['--cpus', '0'], /--cpus must be a whole number from 1 to 64, not "0"/],
    [['--cpus', '2', '--kernel', 'x'], /from 1 to 1/],
    [['--memory', '99999'], /from 1 to 2048/],
    [['--rounds', 'many'], /--rounds/],
    [['--initrd', 'x'], /need --kernel/],
    [['--disk', 'x'], /need --kernel/],
    [['--rounds', '5', '--kernel', 'x'], /without --kernel/],
  ]
  for (const [args, message] of wrong) {
    const { status, stderr } = vmm(...args)
    t.is(status, 2)
    t.regex(stderr, message)
  }
})

kvmTest('a kernel that is none ends with status 1 and says so', (t) => {
  const { status, stderr } = vmm('--kernel', PROGRAM)
  t.is(status, 1)
  t.regex(stderr, /neither a bzImage nor an ELF vmlinux/)
})
