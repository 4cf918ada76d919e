// The command line of the rig: `node rig/rig.mjs [options] -- COMMAND [ARGS...]`.

import { constants } from 'node:os'
import { RigError, runInRig, STATUS } from './index.mjs'
import { devicesOf } from './machine.mjs'
import { quieten, warn } from './say.mjs'

const HELP = `usage: node rig/rig.mjs [options] [--] COMMAND [ARGS...]

Runs COMMAND, in this folder, on an emulated PC with an IOMMU, real VFIO and PCI devices to try it on.
The host's file system is there as it is; what the command writes stays in the guest's memory and is gone
afterwards, except under --share.

  --kernel NAME          stock, Debian's own (default), or built: Linux 7.2 with iommufd, the cdev, mediated
                         devices, a mock IOMMU and fault injection; its first use builds it, some 6 minutes
  --iommu NAME           intel (default); with the built kernel also virtio and none
  --sriov                a second nvme that can have virtual functions, on its host driver
  --timeout SECONDS      for the whole run, boot included (600); then the exit status is ${STATUS.timedOut}
  --silence SECONDS      the same when the command says nothing for so long; tells where its threads and the processors are
  --cpus N               processors of the guest (2)
  --memory MIB           memory of the guest (4096)
  --env NAME=VALUE       a variable for the command, beside the caller's own; repeatable
  --share DIR            a folder the command can write to, at the same path
  --bind NAME            put the device on vfio-pci; repeatable
  --no-bind NAME         leave the device to its host driver; repeatable
  --append TEXT          more for the kernel's command line
  --trace REGION=FILE    write each access the guest makes to QEMU's memory region REGION to FILE
  --quiet                do not tell what the rig is doing
  --help

Devices: ${Object.entries(devicesOf({ sriov: true }))
  .map(([name, { address }]) => `${name} ${address.slice(5)}`)
  .join(', ')}.
The command finds them, and the kernel's release, as JSON in NODE_VFIO_RIG.

One register access, seen from the device:
  --trace edu-mmio=accesses.log -- node -e '...'   then each line of accesses.log is one access:
  memory_region_ops_read cpu 0 mr 0x... addr 0xfea00000 value 0x10000ed size 4 name 'edu-mmio'
  where addr is the guest's physical address and size the width in bytes. A trace slows the guest down.

Exit status: the command's; ${STATUS.timedOut} after a time-out; ${STATUS.failed} when the rig itself failed.`

const usage = (text) => {
  throw new RigError(`${text}; --help shows the options`)
}

const count = (name, text) => {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1)
    usage(`${name} takes a whole number above 0, not '${text}'`)
  return number
}

const pair = (name, text) => {
  const at = text.indexOf('=')
  if (at < 1) usage(`${name} takes two things with '=' between them, not '${text}'`)
  return [text.slice(0, at), text.slice(at + 1)]
}

const FLAGS = {
  '--quiet': () => quieten(true),
  '--sriov': (options) => (options.sriov = true),
}

const OPTIONS = {
  '--kernel': (options, _name, value) => (options.kernel = value),
  '--iommu': (options, _name, value) => (options.iommu = value),
  '--timeout': (options, name, value) => (options.timeout = count(name, value)),
  '--silence': (options, name, value) => (options.silence = count(name, value)),
  '--cpus': (options, name, value) => (options.cpus = count(name, value)),
  '--memory': (options, name, value) => (options.memory = count(name, value)),
  '--env': (options, name, value) => {
    const [variable, content] = pair(name, value)
    options.env[variable] = content
  },
  '--share': (options, _name, value) => (options.share = value),
  '--bind': (options, _name, value) => options.bind.push(value),
  '--no-bind': (options, _name, value) => options.noBind.push(value),
  '--append': (options, _name, value) => (options.append = value),
  '--trace': (options, name, value) => {
    const [region, file] = pair(name, value)
    options.trace = { region, file }
  },
}

/** @returns {{ help?: boolean } & Partial<import('./index.mjs').RigOptions>} */
const parse = (words) => {
  const options = { env: {}, bind: [], noBind: [] }
  let at = 0
  for (; at < words.length && words[at].startsWith('-'); at++) {
    if (words[at] === '--') {
      at++
      break
    }
    const [, name, , inline] = words[at].match(/^([^=]+)(=(.*))?$/s) ?? [undefined, words[at]]
    if (name === '--help') return { help: true }
    if (Object.hasOwn(FLAGS, name)) {
      FLAGS[name](options)
      continue
    }
    if (!Object.hasOwn(OPTIONS, name)) usage(`unknown option ${name}`)
    const value = inline ?? words[++at]
    if (value === undefined) usage(`${name} wants a value`)
    OPTIONS[name](options, name, value)
  }
  if (at === words.length) usage('what is the command?')
  return { ...options, command: words.slice(at) }
}

const main = async () => {
  const { help, ...options } = parse(process.argv.slice(2))
  if (help) {
    console.log(HELP)
    return 0
  }
  const abort = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(name, () => abort.abort(constants.signals[name]))
  }
  // Whoever read the output has gone (rig ... | head).
  process.stdout.on('error', () => abort.abort(constants.signals.SIGPIPE))
  try {
    const { status } = await runInRig({ command: [], ...options, signal: abort.signal })
    return status
  } catch (error) {
    if (!abort.signal.aborted) throw error
    warn('stopped')
    return 128 + abort.signal.reason
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof RigError)) throw error
  warn(error.message)
  process.exitCode = STATUS.failed
}
