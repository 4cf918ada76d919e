// The rig as a function, for the programs that run parts of themselves on it. Owns a run from start to end:
// what it needs, the environment of the command, and what a failed boot means.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { builtKernel } from './built.mjs'
import { cacheFolder } from './cache.mjs'
import { baseInitramfs, isVariable, runInitramfs } from './initramfs.mjs'
import { stockKernel } from './kernel.mjs'
import { devicesOf, DISK_SIZE, IOMMUS, MODULES, qemuArguments } from './machine.mjs'
import { gistOf } from './postmortem.mjs'
import { findQemu } from './qemu.mjs'
import { boot } from './run.mjs'
import { RigError, warn } from './say.mjs'
import { openTrace } from './trace.mjs'
import { findVfioUserQemu } from './vfio-user.mjs'

export { cached, cacheFolder, digest } from './cache.mjs'
export { isBuilt, progressOf, whyNotBuilt } from './built.mjs'
export { libvfioUserSample } from './libvfio-user.mjs'
export { DEVICES } from './machine.mjs'
export { Apt } from './packages.mjs'
export { counted, interview } from './postmortem.mjs'
export { RigError } from './say.mjs'
export { findVfioUserQemu, stockGuest } from './vfio-user.mjs'

/** Fetches, unpacks and compiles what machines with that kernel need, so that several may then start at once. */
export const prepareRig = async ({ kernel: name = 'stock' } = {}) => {
  chosen(KERNELS, name, 'kernel')
  await findQemu()
  await baseInitramfs(await KERNELS[name].find(), KERNELS[name].modules)
}

/** Exit statuses of the rig's own, beside those of the command. */
export const STATUS = { timedOut: 124, failed: 125 }

const KEPT_LOGS = 20

// Folders and channels of the host's user mean nothing in the guest, which has no network either: there,
// NODE_EXTRA_CA_CERTS only makes each start of node 3 s longer.
const NOT_FOR_THE_GUEST =
  /^(HOME|TMPDIR|TMP|TEMP|PWD|OLDPWD|SHLVL|_|XDG_.*|NODE_CHANNEL_.*|NODE_EXTRA_CA_CERTS|LD_PRELOAD)$/

/** The kernels, by the name of the option, and the IOMMUs that they can use. The built one has no modules. */
const KERNELS = {
  stock: { find: stockKernel, modules: MODULES, iommus: ['intel'] },
  built: { find: builtKernel, modules: [], iommus: Object.keys(IOMMUS) },
}

const environment = (kernel, machine, extra) => {
  const own = Object.entries(process.env).filter(([name]) => !NOT_FOR_THE_GUEST.test(name))
  const devices = Object.fromEntries(
    Object.entries(devicesOf(machine)).map(([name, { address }]) => [name, address]),
  )
  const rig = JSON.stringify({
    kernel: kernel.release,
    built: kernel.modules === null,
    image: kernel.image,
    iommu: machine.iommu,
    devices,
  })
  return {
    ...Object.fromEntries(own),
    // The static tools come last: they fill what the host lacks (modprobe, lspci) and hide nothing.
    PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/run/rig/bin`,
    HOME: '/run/rig/home',
    NODE_VFIO_RIG: rig,
    ...extra,
  }
}

const bindings = (table, bind, noBind) => {
  for (const name of [...bind, ...noBind]) {
    if (!(name in table)) {
      throw new RigError(`no device is called ${name}; there are ${Object.keys(table).join(', ')}`)
    }
  }
  return Object.entries(table).map(([name, { address, id, bound }]) => {
    const toVfio = (bound || bind.includes(name)) && !noBind.includes(name)
    return [name, address, id, toVfio ? 'vfio-pci' : '-']
  })
}

const chosen = (table, name, option) => {
  if (!Object.hasOwn(table, name))
    throw new RigError(`${option} is one of ${Object.keys(table).join(', ')}, not '${name}'`)
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
  'timed out': ({ timeout }) => `timed out after ${timeout} s`,
  'went silent': ({ silence }) => `the command said nothing for ${silence} s, and its machine may hang`,
  'died booting': () => 'the rig died before it was up',
  'lost an interrupt': () =>
    'an emulated processor has an interrupt in service whose end QEMU lost, and takes no other any more',
  'kernel died': () => "the guest's kernel died while the command ran",
  'QEMU died': () => 'QEMU died',
}

const TIMES = ['timed out', 'went silent']

// Seen, rarely, on machines where nothing is wrong; a dead kernel under a running command was not, nor one that hangs otherwise.
const WORTH_A_RETRY = ['died booting', 'QEMU died', 'lost an interrupt']

/**
 * @typedef {object} RigOptions
 * @property {string[]} command
 * @property {string} [kernel]
 * @property {string} [iommu]
 * @property {boolean} [sriov]
 * @property {Record<string, string | undefined>} [env]
 * @property {string} [cwd]
 * @property {number} [timeout]
 * @property {number} [silence]
 * @property {number} [cpus]
 * @property {number} [memory]
 * @property {string} [share]
 * @property {{ region: string, file: string }} [trace]
 * @property {string} [append]
 * @property {string[]} [bind]
 * @property {string[]} [noBind]
 * @property {Record<string, string>} [userDevices]
 * @property {import('node:stream').Writable} [stdout]
 * @property {import('node:stream').Writable} [stderr]
 * @property {() => void} [again]
 * @property {AbortSignal} [signal]
 */

/**
 * Runs `command` (an array) on the rig and resolves to { status, gist }: the command's status, or one of STATUS, and in lines
 * what matters of what the kernel and QEMU said last. Of a machine that did not come to the command's end, `reason` says
 * what happened.
 *
 * Options: `kernel` ('stock', Debian's own, or 'built', from built.config), `iommu` ('intel'; 'virtio' and 'none' want the
 * built kernel), `sriov` (an nvme with virtual functions besides), `env` (added to the caller's environment), `cwd`, `timeout` (seconds, the boot included), `silence` (the most
 * seconds without output, default as many as it takes), `cpus`,
 * `memory` (MiB), `share` (a folder the guest can write to), `trace` ({ region, file }), `append` (to the kernel
 * command line), `bind` and `noBind` (names of DEVICES), `userDevices` (by the name of a device, the socket of who takes its place
 * by vfio-user; the machine then runs in a QEMU that can), `stdout` and `stderr` (streams), `again` (called when a machine that
 * died is replaced, once, by another, whose output follows), `signal` (an AbortSignal: ends the machine and rejects with its
 * reason). Throws RigError when the rig cannot start.
 * @param {RigOptions} options
 * @returns {Promise<{ status: number, reason?: string, gist: string[] }>}
 */
export const runInRig = async ({
  command,
  kernel: kernelName = 'stock',
  iommu = 'intel',
  sriov = false,
  env = {},
  cwd = process.cwd(),
  timeout = 600,
  silence,
  cpus = 2,
  memory = 4096,
  share,
  trace,
  append,
  bind = [],
  noBind = [],
  userDevices = {},
  stdout = process.stdout,
  stderr = process.stderr,
  again,
  signal,
}) => {
  const misnamed = Object.keys(env).find((name) => !isVariable(name))
  if (misnamed !== undefined) throw new RigError(`'${misnamed}' is no name for an environment variable`)
  chosen(KERNELS, kernelName, 'kernel')
  chosen(IOMMUS, iommu, 'iommu')
  const { find, modules, iommus } = KERNELS[kernelName]
  if (!iommus.includes(iommu)) throw new RigError(`iommu ${iommu} is not for the ${kernelName} kernel`)
  const machine = { iommu, sriov }
  const devices = bindings(devicesOf(machine), bind, noBind)
  for (const name of Object.keys(userDevices)) chosen(devicesOf(machine), name, 'a user device')
  const qemu = await (Object.keys(userDevices).length > 0 ? findVfioUserQemu() : findQemu())
  const kernel = await find()
  const base = await baseInitramfs(kernel, modules)
  const shared = share && resolve(share)
  if (shared) mkdirSync(shared, { recursive: true })

  const running = { timeout, silence, stdout, stderr, signal }

  const once = async () => {
    const folder = mkdtempSync(join(tmpdir(), 'node-vfio-rig-'))
    const traced = trace && openTrace(trace)
    try {
      runInitramfs(join(folder, 'initramfs'), base, {
        command,
        cwd: resolve(cwd),
        env: environment(kernel, machine, env),
        devices,
        settings: { SHARE: shared ?? '', MODULES: kernel.modules ?? '' },
      })
      writeFileSync(join(folder, 'disk'), '')
      truncateSync(join(folder, 'disk'), DISK_SIZE)
      const qemuArgs = qemuArguments({
        kernel,
        folder,
        cpus,
        memory,
        append,
        share: shared,
        trace,
        userDevices,
        ...machine,
      })
      const kernelLog = newLog()
      const result = await boot({ qemu, qemuArgs, folder, kernelLog, trace: traced, ...running })
      return { ...result, kernelLog }
    } finally {
      await traced?.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }

  let result = await once()
  if (WORTH_A_RETRY.includes(result.ending)) {
    warn(`${report(result, running)}; trying once more: output up to here is from the first try`)
    again?.()
    result = await once()
  }
  if (result.ending === 'stopped') throw signal.reason
  const gist = gistOf(result.log)
  if (result.ending === 'exited') return { status: result.status, gist }
  const reason = report(result, running)
  return {
    status: TIMES.includes(result.ending) ? STATUS.timedOut : STATUS.failed,
    reason,
    gist,
  }
}

/** Shows what a machine said last, and returns how it ended. */
const report = ({ ending, log, kernelLog }, times) => {
  const reason = ENDINGS[ending](times)
  warn(`${reason}; the last lines of the kernel and of QEMU (all of them in ${kernelLog}):`)
  for (const line of log) process.stderr.write(`  | ${line}\n`)
  return reason
}
