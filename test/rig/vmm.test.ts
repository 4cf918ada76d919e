// The example VMM with a real device passed through, and with a real Linux as its guest.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import { devices, rig } from './devices.js'

const PROGRAM = fileURLToPath(new URL('../../../build-demo/examples/vmm/main.js', import.meta.url))

interface Result {
  status: number | null
  stdout: string
  stderr: string
}

/** Runs the VMM to its end; once it has printed what matches `enough`, it is told to stop. */
function vmm(args: readonly string[], enough?: RegExp): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const result = { stdout: '', stderr: '' }
    let told = false
    child.stdout.on('data', (chunk: Buffer) => {
      result.stdout += chunk.toString()
      if (told || enough?.test(result.stdout) !== true) return
      told = true
      child.kill('SIGTERM')
    })
    child.stderr.on('data', (chunk: Buffer) => (result.stderr += chunk.toString()))
    child.on('error', reject)
    child.on('close', (status) => {
      resolve({ ...result, status })
    })
  })
}

test.serial('edu passed through: each interrupt is taken, and user space has no part in it', async (t) => {
  t.timeout(240_000)
  const { status, stdout, stderr } = await vmm(['--device', devices.edu, '--rounds', '1000'])
  t.is(status, 0, stderr)
  t.regex(stdout, /^guest: the edu says that 10! is 3628800$/m)
  t.regex(stdout, /^guest: interrupts taken: 1000, rounds: 1000$/m)
  t.regex(stdout, /1000 interrupts raised by the guest at the device, 1000 taken; none lost/)
  t.regex(stdout, /counted by KVM: io_exits 0, mmio_exits 0$/m)
})

test.serial('a device that is not there, and one that the guest cannot drive', async (t) => {
  t.timeout(240_000)
  const missing = await vmm(['--device', '0000:00:1f.7'])
  t.is(missing.status, 1)
  t.regex(missing.stderr, /0000:00:1f\.7/)
  const other = await vmm(['--device', devices.testdev])
  t.is(other.status, 1)
  t.regex(other.stderr, /is not an edu/)
})

test.serial("Linux boots to its console: the rig's own kernel", async (t) => {
  t.timeout(500_000)
  const { status, stdout, stderr } = await vmm(
    ['--kernel', rig.image, '--memory', '256'],
    /Linux version [^\n]+\n/,
  )
  t.is(status, 0, stderr)
  t.true(stdout.includes(`Linux version ${rig.kernel}`), stdout)
})
