// Supervises one boot: starts QEMU and its helper, carries the output, keeps the kernel's last lines, and decides
// how the run ended. Whatever happens, no process and no temporary file stays behind.

import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { IVSHMEM, SOCKETS } from './machine.mjs'
import { interview } from './postmortem.mjs'
import { RigError } from './say.mjs'

// Those of a panic, with the backtraces of all processors, and of a machine that said where all of its threads are.
const KERNEL_LINES = 400
const BOOT_SECONDS = 120
const GOODBYE_MILLISECONDS = 5000
// Of the silence that is allowed.
const ASKED_AFTER = 1 / 3

const startIvshmemServer = (folder) =>
  new Promise((resolve, reject) => {
    const program = fileURLToPath(new URL('ivshmem-server.py', import.meta.url))
    const server = spawn(
      'python3',
      [program, join(folder, 'ivshmem'), ...[IVSHMEM.size, IVSHMEM.vectors].map(String)],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    server.on('error', () => reject(new RigError('python3 is missing: it serves the ivshmem device')))
    server.on('close', (status) => reject(new RigError(`the ivshmem server ended with status ${status}`)))
    server.stdout?.once('data', () => resolve(server))
  })

const lines = (stream, use) => createInterface({ input: stream, crlfDelay: Infinity }).on('line', use)

/**
 * Boots once. Resolves to { ending, status, log }: `ending` is 'exited', 'timed out', 'went silent', 'stopped',
 * 'died booting', 'kernel died' or 'QEMU died'; `status` is the command's when it exited; `log` holds the kernel's last lines.
 */
export const boot = async ({
  qemu,
  qemuArgs,
  folder,
  timeout,
  silence,
  kernelLog,
  trace,
  stdout,
  stderr,
  signal,
}) => {
  const server = await startIvshmemServer(folder)
  const child = spawn(qemu.program, [...qemu.args, ...qemuArgs], {
    env: qemu.env,
    stdio: ['ignore', 'pipe', 'pipe', ...SOCKETS.map(() => /** @type {const} */ ('pipe'))],
    // In its own process group, so that a Ctrl-C reaches only the rig, which then ends it and says so.
    detached: true,
  })

  const log = []
  let panicked = false
  const remember = (text) => {
    log.push(text)
    if (log.length > KERNEL_LINES) log.shift()
  }
  const file = createWriteStream(kernelLog)
  lines(child.stdout, (line) => {
    // The firmware clears the screen.
    // eslint-disable-next-line no-control-regex
    const text = line.replace(/\x1b(\[[\d;?=]*[A-Za-z]|c)/g, '')
    file.write(`${text}\n`)
    if (text) remember(text)
    panicked ||= text.includes('Kernel panic')
  })
  const ofQemu = (line) => remember(`qemu: ${line}`)
  lines(child.stderr, (line) => {
    if (!trace?.take(line)) ofQemu(line)
  })

  /** Each is a socket: what it says and what is said to it go through one end. */
  const sockets = /** @type {import('node:net').Socket[]} */ (child.stdio.slice(3))
  const [out, err, control, asking, monitor, answering] = sockets
  // QEMU's end is reset when it is killed, which the run's ending already says.
  for (const stream of sockets) stream.on('error', () => {})
  // What a command in the guest says to its monitor, and what that answers.
  asking.pipe(answering)
  answering.pipe(asking)
  out.pipe(stdout, { end: false })
  err.pipe(stderr, { end: false })

  let up = false
  let status
  let ending
  const end = (how) => {
    ending ??= how
    child.kill('SIGKILL')
  }
  // A machine that gives no sign of life is asked what it does before it goes.
  const silenced = async () => {
    if (ending !== undefined) return
    ending = 'went silent'
    const { lostInterrupt, backtrace } = await interview(monitor, ofQemu)
    // Said before the kernel's backtrace, by which the machine ends.
    if (lostInterrupt) ending = 'lost an interrupt'
    await backtrace()
    child.kill('SIGKILL')
  }
  const deadline = setTimeout(end, timeout * 1000, 'timed out')
  // Long before that, the session is asked: when it is the command that hangs, whoever runs it ends it sooner.
  const ask = () => control.write('where\n')
  const timers = []
  const listen = () => {
    timers.push(setTimeout(ask, silence * ASKED_AFTER * 1000), setTimeout(silenced, silence * 1000))
    for (const stream of [out, err]) {
      stream.on('data', () => {
        for (const timer of timers) timer.refresh()
      })
    }
  }
  const bootDeadline = setTimeout(end, BOOT_SECONDS * 1000, 'died booting')
  const stop = () => end('stopped')
  signal?.addEventListener('abort', stop)
  if (signal?.aborted) stop()

  lines(control, (line) => {
    const [word, value] = line.split(' ')
    if (word === 'up') {
      up = true
      clearTimeout(bootDeadline)
      if (silence !== undefined) listen()
    } else if (word === 'exit') {
      status = Number(value)
      ending ??= 'exited'
      child.kill('SIGTERM')
      setTimeout(() => child.kill('SIGKILL'), GOODBYE_MILLISECONDS).unref()
    }
  })

  try {
    await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject))
  } finally {
    clearTimeout(deadline)
    for (const timer of timers) clearTimeout(timer)
    clearTimeout(bootDeadline)
    signal?.removeEventListener('abort', stop)
    server.removeAllListeners('close')
    server.kill()
    await new Promise((resolve) => file.end(resolve))
  }

  ending ??= !up ? 'died booting' : panicked ? 'kernel died' : 'QEMU died'
  return { ending, status, log }
}
