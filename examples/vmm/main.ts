// A virtual machine monitor: memory, processors, a serial port, disks, devices of the host, on KVM. Runs a guest of the
// project's own, which counts interrupts and doorbells, or a Linux kernel with whatever system is on its disk.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { loadLinux } from 'node-vfio/vmm'
import { runClosedLoop } from './closed-loop.js'
import { plugDisk } from './disk.js'
import { runEduLoop } from './edu-loop.js'
import { Machine } from './machine.js'
import { FIRST_SLOT, PassedThrough } from './passed-through.js'
import { Terminal } from './terminal.js'

const CMDLINE = 'console=ttyS0 earlyprintk=ttyS0 reboot=t panic=-1'
const ROUNDS = 100_000
const MEMORY_MIB = { own: 16, linux: 512 }
/** Above that lie devices. */
const MOST_MEMORY_MIB = 2048
const MOST_CPUS = 64
const MOST_DEVICES = 16

const HELP = `npm run example:vmm -- [options]

Boots a guest on /dev/kvm and shows what it says over its serial port. Without --kernel that is a guest of this project's
own: each interrupt makes it ring a doorbell, and each doorbell makes the VMM send the next interrupt. Both sides count.
What you type goes to Linux over the same port. Behind Ctrl-A, x ends the VMM, p presses the guest's power button, and e
shows KVM's counters of exits.

  --rounds N       interrupts for each processor of that guest (${ROUNDS})
  --device BDF     passes through a PCI device that is on vfio-pci; repeatable for Linux. The project's own guest drives
                   an edu, which then interrupts it, without the VMM; KVM's counters of exits are shown
  --kernel FILE    boots Linux instead: a bzImage, or an ELF vmlinux with a PVH entry
  --initrd FILE    its initial file system
  --disk FILE      its disk: a file or a block device, by virtio-blk
  --cmdline TEXT   its command line (${CMDLINE})
  --memory MIB     memory of the guest, up to ${MOST_MEMORY_MIB} (${MEMORY_MIB.own}; ${MEMORY_MIB.linux} for Linux)
  --cpus N         processors, up to ${MOST_CPUS} (1)
  --help           this text`

class UsageError extends Error {}

function count(name: string, text: string | undefined, standard: number, most: number): number {
  const number = text === undefined ? standard : Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= most) return number
  throw new UsageError(`--${name} must be a whole number from 1 to ${most}, not ${JSON.stringify(text)}`)
}

interface Options {
  rounds: number
  devices: readonly string[]
  kernel: string | undefined
  initrd: string | undefined
  disk: string | undefined
  cmdline: string
  memory: number
  cpus: number
}

function parse(): Options | undefined {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      device: { type: 'string', multiple: true },
      kernel: { type: 'string' },
      initrd: { type: 'string' },
      disk: { type: 'string' },
      cmdline: { type: 'string' },
      memory: { type: 'string' },
      cpus: { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) return undefined
  const { device: devices = [], kernel, initrd, disk, cmdline = CMDLINE } = values
  const linux = kernel !== undefined
  if (!linux && (initrd ?? disk ?? values.cmdline) !== undefined)
    throw new UsageError('--initrd, --disk and --cmdline need --kernel')
  if (linux && values.rounds !== undefined) throw new UsageError('--rounds is for the guest without --kernel')
  const most = linux ? MOST_DEVICES : 1
  if (devices.length > most) throw new UsageError(`--device can be given ${most} times at most`)
  const cpus = count('cpus', values.cpus, 1, !linux && devices.length > 0 ? 1 : MOST_CPUS)
  const standard = linux ? MEMORY_MIB.linux : MEMORY_MIB.own
  return {
    rounds: count('rounds', values.rounds, ROUNDS, 0xffff_ffff),
    devices,
    kernel,
    initrd,
    disk,
    cmdline,
    memory: count('memory', values.memory, standard, MOST_MEMORY_MIB) << 20,
    cpus,
  }
}

async function bootLinux(machine: Machine, kernel: string, options: Options): Promise<void> {
  const { initrd, cmdline } = options
  const start = loadLinux(machine.memory, {
    kernel: readFileSync(kernel),
    initrd: initrd === undefined ? undefined : readFileSync(initrd),
    cmdline,
    layout: machine.layout,
    acpi: machine.setUp(),
  })
  const terminal = new Terminal(machine.pc.serial, {
    commands: {
      p: () => {
        machine.pc.power.pressButton()
      },
      e: () => {
        const { io, mmio } = machine.exits
        console.log(`vmm: exits: io_exits ${io}, mmio_exits ${mmio}`)
      },
      x: () => {
        machine.stop()
      },
    },
  })
  const { reason, detail } = await machine.run(start).finally(() => {
    terminal.close()
  })
  if (reason === 'failed') throw new Error(`the guest failed ${detail}`)
  console.log(`vmm: the guest has ended: ${reason}, ${detail}`)
}

async function loopWithVmm(machine: Machine, rounds: number): Promise<void> {
  const started = performance.now()
  for (const { cpu, sent, taken, rung, heard } of await runClosedLoop(machine, rounds)) {
    console.log(
      `vmm: processor ${cpu}: ${sent} interrupts sent, ${taken} taken; ${rung} doorbells rung, ${heard} heard; none lost`,
    )
  }
  const seconds = (performance.now() - started) / 1000
  console.log(`vmm: in ${seconds.toFixed(1)} s, ${((seconds / rounds) * 1e6).toFixed(1)} µs per round`)
}

async function loopWithDevice(machine: Machine, device: PassedThrough, rounds: number): Promise<void> {
  const { raised, taken, exits, seconds } = await runEduLoop(machine, device.eduPlace(), rounds)
  console.log(`vmm: ${raised} interrupts raised by the guest at the device, ${taken} taken; none lost`)
  console.log(`vmm: in ${seconds.toFixed(1)} s, ${((seconds / raised) * 1e6).toFixed(1)} µs per round`)
  console.log(`vmm: exits while that went on, counted by KVM: io_exits ${exits.io}, mmio_exits ${exits.mmio}`)
}

async function main(options: Options): Promise<void> {
  const { memory, cpus, kernel, rounds } = options
  const machine = new Machine({ memory, cpus, print: (bytes) => process.stdout.write(bytes) })
  const stop = (): void => {
    machine.stop()
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, stop)
  const devices: PassedThrough[] = []
  let unplug: (() => void) | undefined
  try {
    if (options.disk !== undefined) unplug = plugDisk(machine, options.disk)
    for (const [i, bdf] of options.devices.entries())
      devices.push(await PassedThrough.open(machine, bdf, FIRST_SLOT + i))
    const [device] = devices
    if (kernel !== undefined) await bootLinux(machine, kernel, options)
    else if (device !== undefined) await loopWithDevice(machine, device, rounds)
    else await loopWithVmm(machine, rounds)
  } finally {
    for (const each of devices) await each.close()
    unplug?.()
    machine.close()
  }
}

function isUsage(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return error instanceof UsageError || (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))
}

try {
  const options = parse()
  if (options === undefined) console.log(HELP)
  else await main(options)
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  console.error(isUsage(error) ? `vmm: ${message}; --help shows the options` : `vmm: ${message}`)
  process.exitCode = isUsage(error) ? 2 : 1
}
