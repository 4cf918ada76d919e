// Real drivers changed by the command while nobody reads what it says, or the disk that its words go to is full: the change
// is finished or taken back all the same, and the exit status says which.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { listChanges } from '../../ts/merged/index.js'
import { picture, vfio } from './changes.js'
import { devices, driverOf } from './devices.js'

const MAIN = join(import.meta.dirname, '../../ts/cli/main.js')
const { edu, edu2 } = devices

/** The command in a shell, with the words `redirected` behind it; gives its own status, not the last one's of a pipe. */
async function shell(redirected: string, ...args: string[]): Promise<{ status: number | null; err: string }> {
  const line = `"$0" "$@" ${redirected}; exit \${PIPESTATUS[0]}`
  const child = spawn('/bin/bash', ['-c', line, process.execPath, MAIN, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let err = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, err }
}

for (const [title, redirected] of [
  ['a change whose words go to a head that has gone is made, and undone', '| head -1'],
  ['a change whose words go to a true that never reads is made, and undone', '| true'],
  ['a change whose words go to a full disk is made, and undone', '> /dev/full'],
  ['a change whose words go to a full disk, and standard error too is made, and undone', '> /dev/full 2>&1'],
] as const) {
  test.serial(title, async (t) => {
    t.timeout(600_000)
    const before = picture()
    const made = await shell(redirected, 'unbind', edu2, '--no-driver', '--yes')
    t.is(made.status, 0, made.err)
    t.is(driverOf('edu2'), null)
    t.like(listChanges().at(-1), { state: 'applied', plan: { devices: [edu2] } })
    if (redirected === '> /dev/full') t.regex(made.err, /standard output: ENOSPC[^]*exit status/)
    const undone = await shell(redirected, 'undo')
    t.is(undone.status, 0, undone.err)
    t.deepEqual(picture(), before)
  })
}

test.serial('a change that fails with nobody reading is taken back, and its status says so', async (t) => {
  t.timeout(600_000)
  const before = picture()
  for (const redirected of ['| true', '> /dev/full']) {
    // virtio-pci finds no virtio device in an edu.
    const { status, err } = await shell(redirected, 'bind', edu, '--driver', 'virtio-pci', '--yes')
    t.is(status, 3, err)
    t.deepEqual(picture(), before, redirected)
  }
})

test.serial('a plan that finds no room in its file is a failure', async (t) => {
  t.timeout(600_000)
  const { status, err } = await shell('> /dev/full', 'plan', 'unbind', edu2, '--json')
  t.is(status, 1)
  t.regex(err, /ENOSPC/)
})

test.serial('a terminal that hangs up ends a change between two steps, and it is taken back', async (t) => {
  t.timeout(600_000)
  const before = picture()
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [MAIN, 'unbind', edu2, '--no-driver'], {
    stdio: ['ignore', 'pipe', full],
  })
  closeSync(full)
  const exited = once(child, 'exit')
  // The first step is done; the second is still to come.
  let out = ''
  for await (const text of child.stdout!.setEncoding('utf8')) {
    out += String(text)
    if (out.includes(' ok ')) break
  }
  child.kill('SIGHUP')
  child.stdout!.destroy()
  const [status, signal] = (await exited) as [number | null, string | null]
  t.is(signal, null)
  // It may have been through already.
  t.true(status === 3 || status === 0, String(status))
  if (status === 0) t.is((await vfio('undo')).status, 0)
  t.deepEqual(picture(), before)
})
