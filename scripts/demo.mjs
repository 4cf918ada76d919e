// `npm run demo`: sets up what is missing, then runs examples/edu-demo.ts on a real VFIO device: in the rig, or with
// --device on this machine. Runs on a fresh clone: only Node's own modules are imported here.

import { constants } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import {
  DEMO,
  prepareAddon,
  prepareDemo,
  PrepareError,
  prepareExamples,
  prepareLibrary,
  prepareModules,
} from './lib/prepare.mjs'
import { ROOT } from './lib/process.mjs'
import { say } from './lib/say.mjs'
import { userDeviceDemo } from './user-device-demo.mjs'
import { DEVICES, RigError, runInRig } from '../rig/index.mjs'

// Seconds for the demo itself, the rig's boot included: it takes about twenty.
const TIMEOUT = 300
const STATUS_TIMED_OUT = 124

const HELP = `npm run demo -- [options]

Opens a PCI device through VFIO and shows its registers, DMA and interrupts at work. Sets up what it needs in
this folder, then boots an emulated PC with an IOMMU and real VFIO (the first time that downloads a kernel).

  --device BDF   an edu device of this machine, on vfio-pci, instead of the emulated PC's
  --user-device  the other way round: a guest in stock QEMU, whose graphics card is written in TypeScript
  --help         this text`

const abort = new AbortController()

const onHost = (command) =>
  new Promise((resolve, reject) => {
    const [program, ...args] = command
    const child = spawn(program, args, {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: TIMEOUT * 1000,
      killSignal: 'SIGKILL',
    })
    const started = Date.now()
    const stop = () => child.kill('SIGTERM')
    abort.signal.addEventListener('abort', stop)
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (signal === null) return resolve(status)
      const late = Date.now() - started >= TIMEOUT * 1000
      console.error(late ? `the demo did not end within ${TIMEOUT} s` : `the demo was ended by ${signal}`)
      resolve(late ? STATUS_TIMED_OUT : 128 + constants.signals[signal])
    })
  })

const main = async () => {
  const { values } = parseArgs({
    options: {
      device: { type: 'string' },
      'user-device': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  prepareModules()
  prepareAddon()
  prepareLibrary()
  if (values['user-device']) {
    prepareExamples()
    return await userDeviceDemo(abort.signal)
  }
  prepareDemo()
  const program = [process.execPath, join(ROOT, DEMO.program)]
  const baseline = join(ROOT, DEMO.baseline)
  if (values.device !== undefined) {
    say(`running the demo on ${values.device}`)
    return await onHost([...program, values.device, baseline])
  }
  say('booting the rig: an emulated PC with an IOMMU and an edu device')
  const { status } = await runInRig({
    command: [...program, DEVICES.edu.address, baseline],
    cwd: ROOT,
    timeout: TIMEOUT,
    signal: abort.signal,
  })
  return status
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(name, () => abort.abort(constants.signals[name]))
}
try {
  process.exitCode = await main()
} catch (error) {
  const expected =
    error instanceof PrepareError || error instanceof RigError || error.code?.startsWith('ERR_PARSE_ARGS_')
  if (abort.signal.aborted) {
    console.error('stopped')
    process.exitCode = 128 + abort.signal.reason
  } else if (expected) {
    console.error(error.message)
    process.exitCode = 1
  } else {
    throw error
  }
}
