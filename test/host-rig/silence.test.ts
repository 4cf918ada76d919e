// A machine that falls silent is ended, and tells where its threads and its processors were. Runs on the host and boots a rig of its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const RIG = fileURLToPath(new URL('rig/rig.mjs', import.meta.resolve('#package.json')))
const TIMED_OUT = 124

test('a machine that falls silent tells where its threads and its processors are', async (t) => {
  t.timeout(5 * 60_000)
  // What it says first: that a virtual machine exists that nobody here has made.
  const says = 'readlink /proc/[0-9]*/fd/* | grep kvm-vm; exec sleep 600'
  const rig = spawn(process.execPath, [RIG, '--silence', '15', '--', 'sh', '-c', says])
  const [out, err, [status]] = await Promise.all([
    text(rig.stdout),
    text(rig.stderr),
    once(rig, 'close') as Promise<[number | null]>,
  ])
  t.is(status, TIMED_OUT, err)
  t.is(out, 'anon_inode:kvm-vm\n')
  t.regex(err, /said nothing for 15 s/)
  t.regex(err, /rig: task \d+ sleep: S in \w*nanosleep\w*, system call \d+/, 'by the session')
  for (const cpu of [0, 1]) {
    t.regex(err, new RegExp(`qemu: CPU#${String(cpu)}\\n.*qemu: RIP=[0-9a-f]{16} `), 'by the monitor')
    t.regex(err, new RegExp(`NMI backtrace for cpu ${String(cpu)}`), 'by the kernel')
  }
})
