// The rig as a function, for the programs that run parts of themselves on it. Owns a run from start to end:
// what it needs, the environment of the command, and what a failed boot means.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { cacheFolder } from './cache.mjs'
import { baseInitramfs, isVariable, runInitramfs } from './initramfs.mjs'
import { stockKernel } from './kernel.mjs'
import { DEVICES, DISK_SIZE, MODULES, qemuArguments } from './machine.mjs'
import { findQemu } from './qemu.mjs'
import { boot } from './run.mjs'
import { RigError, warn } from './say.mjs'
import { openTrace } from './trace.mjs'

export { DEVICES } from './machine.mjs'
export { RigError } from './say.mjs'

/** Exit statuses of the rig's own, beside those of the command. */
export const STATUS = { timedOut: 124, failed: 125 }

const KEPT_LOGS = 20

// Folders and channels of the host's user mean nothing in the guest, which has no network either: there,
// NODE_EXTRA_CA_CERTS only makes each start of node 3 s longer.
const NOT_FOR_THE_GUEST =
  /^(HOME|TMPDIR|TMP|TEMP|PWD|OLDPWD|SHLVL|_|XDG_.*|NODE_CHANNEL_.*|NODE_EXTRA_CA_CERTS|LD_PRELOAD)$/

const environment = (kernel, extra) => {
  const own = Object.entries(process.env).filter(([name]) => !NOT_FOR_THE_GUEST.test(name))
  const devices = Object.fromEntries(Object.entries(DEVICES).map(([name, { address }]) => [name, address]))
  const rig = JSON.stringify({ kernel: kernel.release, devices })
  return {
    ...Object.fromEntries(own),
    // The static tools come last: they fill what the host lacks (modprobe, lspci) and hide nothing.
    PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/run/rig/bin`,
    HOME: '/run/rig/home',
    NODE_VFIO_RIG: rig,
    ...extra,
  }
}

const bindings = (bind, noBind) => {
  for (const name of [...bind, ...noBind]) {
    if (!(name in DEVICES)) {
      throw new RigError(`no device is called ${name}; there are ${Object.keys(DEVICES).join(', ')}`)
    }
  }
  return Object.entries(DEVICES).map(([name, { address, id, bound }]) => {
    const toVfio = (bound || bind.includes(name)) && !noBind.includes(name)
    return [name, address, id, toVfio ? 'vfio-pci' : '-']
  })
}

const newLog = () => {
  const folder = join(cacheFolder(), 'logs')
  mkdirSync(folder, { recursive: true })
  const old = readdirSync(folder)
    .sort()
    .slice(0, -KEPT_LOGS + 1)
  for (const name of old) rmSync(join(folder, name), { force: true })
  return join(folder, `${new Date().toISOString().replaceAll(':', '-')}-${process.pid}.log`)
}

const ENDINGS = {
  'timed out': (timeout) => `timed out after ${timeout} s`,
  'died booting': () => 'the rig died before it was up',
  'kernel died': () => "the guest's kernel died while the command ran",
  'QEMU died': () => 'QEMU died',
}

// Both were seen, rarely, on machines where nothing is wrong; a dead kernel under a running command was not.
const WORTH_A_RETRY = ['died booting', 'QEMU died']

/**
 * Runs `command` (an array) on the rig and resolves to { status }: the command's, or one of STATUS.
 *
 * Options: `env` (added to the caller's environment), `cwd`, `timeout` (seconds, the boot included), `cpus`,
 * `memory` (MiB), `share` (a folder the guest can write to), `trace` ({ region, file }), `append` (to the kernel
 * command line), `bind` and `noBind` (names of DEVICES), `stdout` and `stderr` (streams), `signal` (an AbortSignal:
 * ends the machine and rejects with its reason). Throws RigError when the rig cannot start.
 */
export const runInRig = async ({
  command,
  env = {},
  cwd = process.cwd(),
  timeout = 600,
  cpus = 2,
  memory = 4096,
  share,
  trace,
  append,
  bind = [],
  noBind = [],
  stdout = process.stdout,
  stderr = process.stderr,
  signal,
}) => {
  const misnamed = Object.keys(env).find((name) => !isVariable(name))
  if (misnamed !== undefined) throw new RigError(`'${misnamed}' is no name for an environment variable`)
  const devices = bindings(bind, noBind)
  const qemu = findQemu()
  const kernel = await stockKernel()
  const base = await baseInitramfs(kernel, MODULES)
  const shared = share && resolve(share)
  if (shared) mkdirSync(shared, { recursive: true })

  const once = async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rig-'))
    const traced = trace && openTrace(trace)
    try {
      runInitramfs(join(folder, 'initramfs'), base, {
        command,
        cwd: resolve(cwd),
        env: environment(kernel, env),
        devices,
        settings: { SHARE: shared ?? '', MODULES: kernel.modules },
      })
      writeFileSync(join(folder, 'disk'), '')
      truncateSync(join(folder, 'disk'), DISK_SIZE)
      const qemuArgs = qemuArguments({ kernel, folder, cpus, memory, append, share: shared, trace })
      const kernelLog = newLog()
      const result = await boot({
        qemu,
        qemuArgs,
        folder,
        timeout,
        kernelLog,
        trace: traced,
        stdout,
        stderr,
        signal,
      })
      return { ...result, kernelLog }
    } finally {
      await traced?.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }

  let result = await once()
  if (WORTH_A_RETRY.includes(result.ending)) {
    report(result, timeout)
    warn('trying once more; output up to here is from the first try')
    result = await once()
  }
  if (result.ending === 'stopped') throw signal.reason
  if (result.ending === 'exited') return { status: result.status }
  report(result, timeout)
  return { status: result.ending === 'timed out' ? STATUS.timedOut : STATUS.failed }
}

const report = ({ ending, log, kernelLog }, timeout) => {
  warn(`${ENDINGS[ending](timeout)}; the last lines of the kernel and of QEMU (all of them in ${kernelLog}):`)
  for (const line of log) process.stderr.write(`  | ${line}\n`)
}
