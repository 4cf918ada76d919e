// What the tests on real devices share: which devices there are, a driver for QEMU's edu that hides nothing of it, and
// counting what a process holds. It must not know what is tested with it.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { type EventFd, type OpenOptions, type Region, VfioDevice } from '../../ts/index.js'
import { packageUrl } from '../unit/support.js'

export type DeviceName =
  | 'edu'
  | 'edu2'
  | 'testdev'
  | 'e1000e'
  | 'nvme'
  | 'ivshmem'
  | 'bridgedEdu1'
  | 'bridgedEdu2'
  | 'bridgedRng'

const described = process.env['NODE_VFIO_RIG']
if (described === undefined) throw new Error('these tests run in the rig: npm test -- --rig')

/** BDFs by name; the table in README.md says what each device is for. */
export const BDF = (JSON.parse(described) as { devices: Record<DeviceName, string> }).devices

export function open(name: DeviceName, options?: OpenOptions): Promise<VfioDevice> {
  return VfioDevice.open(BDF[name], options)
}

/** A file in sysfs of a device, as text. */
export function sysfs(name: DeviceName, file: string): string {
  return readFileSync(`/sys/bus/pci/devices/${BDF[name]}/${file}`, 'utf8').trim()
}

/** The number of a device's IOMMU group. */
export function groupOf(name: DeviceName): string {
  return readlinkSync(`/sys/bus/pci/devices/${BDF[name]}/iommu_group`).replace(/.*\//, '')
}

/** The driver that has a device, null for none. */
export function driverOf(name: DeviceName): string | null {
  try {
    return readlinkSync(`/sys/bus/pci/devices/${BDF[name]}/driver`).replace(/.*\//, '')
  } catch {
    return null
  }
}

/**
 * Writes to sysfs from a process of its own: a write that unbinds a device sleeps until who holds it lets go, and must
 * not hold this process.
 */
export async function writeSysfs(path: string, text: string): Promise<void> {
  await promisify(execFile)('/bin/sh', ['-c', 'printf "%s\\n" "$1" >"$2"', 'sh', text, path], { timeout: 60_000 })
}

/** Gives a device to another driver; null leaves it without. */
export async function rebind(name: DeviceName, driver: string | null): Promise<void> {
  const device = `/sys/bus/pci/devices/${BDF[name]}`
  if (driverOf(name) !== null) await writeSysfs(`${device}/driver/unbind`, BDF[name])
  await writeSysfs(`${device}/driver_override`, driver ?? '')
  if (driver !== null) await writeSysfs('/sys/bus/pci/drivers_probe', BDF[name])
  // The probe succeeds although nothing bound.
  if (driverOf(name) !== driver) throw new Error(`${name} is on ${String(driverOf(name))}, not ${String(driver)}`)
}

/** Registers of edu, from its BAR's start. */
export const EDU = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  dmaSource: 0x80,
  dmaTarget: 0x88,
  dmaLength: 0x90,
  dmaCommand: 0x98,
} as const

export const EDU_IDENTIFICATION = 0x0100_00ed
/** edu's memory, as its DMA engine sees it. */
const EDU_MEMORY = 0x40000n
/** edu addresses 28 bits. */
export const EDU_DMA_LIMIT = 1n << 28n
/** Half of its memory: a transfer that touches the last byte of all of it aborts QEMU. */
export const EDU_DMA_MOST = 2048

const DMA_RUN = 1n
const DMA_FROM_DEVICE = 2n

/** An open edu. */
export class Edu {
  readonly device: VfioDevice
  readonly bar0: Region

  constructor(device: VfioDevice) {
    this.device = device
    this.bar0 = device.region('bar0')
  }

  static async open(name: DeviceName = 'edu', options?: OpenOptions): Promise<Edu> {
    return new Edu(await open(name, options))
  }

  factorial(n: number): number {
    this.bar0.write32(EDU.factorial, n)
    this.bar0.poll32(EDU.status, { mask: 1, equals: 0, timeoutMicros: 5_000_000 })
    return this.bar0.read32(EDU.factorial)
  }

  /** Asserts the interrupt (line or message) and keeps it so. */
  raise(causes = 1): void {
    this.bar0.write32(EDU.interruptRaise, causes)
  }

  /** The causes that are asserted. */
  get causes(): number {
    return this.bar0.read32(EDU.interruptStatus)
  }

  /** Takes every cause away; gives what they were. */
  acknowledge(): number {
    const { causes } = this
    this.bar0.write32(EDU.interruptAcknowledge, causes)
    return causes
  }

  /** Has the device read `length` bytes at an IOVA into its own memory. */
  async toDevice(iova: bigint, length = EDU_DMA_MOST): Promise<void> {
    await this.#transfer(iova, EDU_MEMORY, length, DMA_RUN)
  }

  /** Has the device write the start of its memory to an IOVA. */
  async fromDevice(iova: bigint, length = EDU_DMA_MOST): Promise<void> {
    await this.#transfer(EDU_MEMORY, iova, length, DMA_RUN | DMA_FROM_DEVICE)
  }

  [Symbol.dispose](): void {
    this.device[Symbol.dispose]()
  }

  async #transfer(source: bigint, target: bigint, length: number, command: bigint): Promise<void> {
    if (length > EDU_DMA_MOST) throw new RangeError('QEMU would abort')
    this.bar0.write64(EDU.dmaSource, source)
    this.bar0.write64(EDU.dmaTarget, target)
    this.bar0.write64(EDU.dmaLength, BigInt(length))
    this.bar0.write64(EDU.dmaCommand, command)
    const end = performance.now() + 20_000
    // The device takes 100 ms for any transfer.
    while ((this.bar0.read64(EDU.dmaCommand) & DMA_RUN) !== 0n) {
      if (performance.now() > end) throw new Error('edu did not finish its transfer')
      await sleep(10)
    }
  }
}

/** The next count of an eventfd that is not 0; 0 when none came within a while. */
export async function nextCount(eventfd: EventFd, milliseconds = 10_000): Promise<number> {
  const end = performance.now() + milliseconds
  for (;;) {
    const count = eventfd.read()
    if (count > 0 || performance.now() > end) return count
    await sleep(1)
  }
}

/** The count of an eventfd after a moment in which whatever was under way has arrived. */
export async function settledCount(eventfd: EventFd): Promise<number> {
  await sleep(100)
  return eventfd.read()
}

export interface Holdings {
  /** What every descriptor is, sorted. */
  descriptors: string[]
  /** Mappings of devices and of memory of the package. */
  mappings: string[]
  threads: number
}

/** What this process holds: all descriptors, the mappings that the package makes, and threads. */
export function holdings(): Holdings {
  const descriptors: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      descriptors.push(readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, ''))
    } catch {
      // The descriptor of the listing itself.
    }
  }
  const mappings = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .map((line) => line.split(/\s+/).slice(5).join(' '))
    .filter((name) => /vfio|memfd|eventfd|eventpoll/.test(name))
  return { descriptors: descriptors.sort(), mappings: mappings.sort(), threads: readdirSync('/proc/self/task').length }
}

/** How many lines /proc/self/maps has. */
export function mappingCount(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('\n').length
}

/** Another process that runs a piece of code against the package (`vfio`) and says lines. */
export class Companion {
  readonly #child: ChildProcess
  readonly #lines: string[] = []
  #rest = ''
  #errors = ''
  #ended = false

  constructor(code: string) {
    const program = `const vfio = await import(${JSON.stringify(packageUrl)});
      const say = (value) => console.log(JSON.stringify(value));
      ${code}`
    this.#child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (this.#rest + chunk.toString()).split('\n')
      this.#rest = lines.pop() ?? ''
      this.#lines.push(...lines)
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#errors += chunk.toString()))
    this.#child.on('close', () => (this.#ended = true))
  }

  /** The next value that it says. */
  async said(milliseconds = 60_000): Promise<unknown> {
    const end = performance.now() + milliseconds
    while (this.#lines.length === 0) {
      if (this.#ended || performance.now() > end) throw new Error(`the other process said nothing: ${this.#errors}`)
      await sleep(5)
    }
    return JSON.parse(this.#lines.shift() as string)
  }

  /** Ends it, if it has not ended by itself. */
  async end(): Promise<void> {
    if (this.#ended) return
    this.#child.kill('SIGKILL')
    while (!this.#ended) await sleep(5)
  }
}
