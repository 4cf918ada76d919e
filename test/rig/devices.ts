// What the tests on real devices share: the devices by name, QEMU's edu with nothing of it hidden, other processes, and
// counting what a process holds. Fails, rather than skips, outside the rig.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { type DmaBuffer, type EventFd, type OpenOptions, type Region, VfioDevice } from '../../ts/index.js'
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
  | 'pluggable'

const described = process.env.NODE_VFIO_RIG
if (described === undefined) throw new Error('these tests run in the rig: npm test -- --rig')

export const rig = JSON.parse(described) as {
  kernel: string
  built: boolean
  /** The file that the kernel was started from. */
  image: string
  iommu: 'intel' | 'virtio' | 'none'
  devices: Record<DeviceName, string> & { sriov?: string }
}
/** BDFs by name; the table in README.md says what each device is for. */
export const { devices } = rig

const SERVED = 'user:'

/** A device of the machine's, or one on a vfio-user socket, which is described as `user:PATH`. */
export function open(name: DeviceName, options: OpenOptions = {}): Promise<VfioDevice> {
  const id = devices[name]
  if (!id.startsWith(SERVED)) return VfioDevice.open(id, options)
  const { guard = true, watch = true } = options
  return VfioDevice.connect(id.slice(SERVED.length), { guard, watch })
}

/** Opens a device for the time of a function. */
export async function withDevice<T>(
  name: DeviceName,
  use: (device: VfioDevice) => T | Promise<T>,
  options?: OpenOptions,
): Promise<T> {
  const device = await open(name, options)
  try {
    return await use(device)
  } finally {
    await device.close()
  }
}

/** A file in sysfs of a device, as text. */
export function sysfs(name: DeviceName, file: string): string {
  return readFileSync(`/sys/bus/pci/devices/${devices[name]}/${file}`, 'utf8').trim()
}

/** The number of a device's IOMMU group. */
export function groupOf(name: DeviceName): string {
  return readlinkSync(`/sys/bus/pci/devices/${devices[name]}/iommu_group`).replace(/.*\//, '')
}

/** The driver that has a device, null for none. */
export function driverOf(name: DeviceName): string | null {
  try {
    return readlinkSync(`/sys/bus/pci/devices/${devices[name]}/driver`).replace(/.*\//, '')
  } catch {
    return null
  }
}

/**
 * Writes to sysfs from a process of its own: a write that unbinds a device sleeps until who holds it lets go, and must
 * not hold this process.
 */
export async function writeSysfs(path: string, text: string): Promise<void> {
  await promisify(execFile)('/bin/sh', ['-c', 'printf "%s\\n" "$1" >"$2"', 'sh', text, path], {
    timeout: 60_000,
  })
}

/** Gives a device to another driver; null leaves it without. */
export async function rebind(name: DeviceName, driver: string | null): Promise<void> {
  const device = `/sys/bus/pci/devices/${devices[name]}`
  if (driverOf(name) !== null) await writeSysfs(`${device}/driver/unbind`, devices[name])
  await writeSysfs(`${device}/driver_override`, driver ?? '')
  if (driver !== null) await writeSysfs('/sys/bus/pci/drivers_probe', devices[name])
  // The probe succeeds although nothing bound.
  if (driverOf(name) !== driver)
    throw new Error(`${name} is on ${String(driverOf(name))}, not ${String(driver)}`)
}

/** Registers of edu, from its BAR's start. */
export const EDU = {
  id: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  raise: 0x60,
  acknowledge: 0x64,
  dmaSource: 0x80,
  dmaTarget: 0x88,
  dmaLength: 0x90,
  dmaCommand: 0x98,
} as const

export const EDU_ID = 0x0100_00ed
/** edu's own memory. Its last byte is out of the DMA engine's reach: QEMU aborts when a transfer touches it. */
export const EDU_BUFFER = 0x40000n
/** edu addresses 28 bits. */
export const EDU_MASK = 1n << 28n

/** One DMA transfer of at most 2048 bytes between an IOVA and edu's memory. */
export function eduDma(
  bar0: Region,
  iova: bigint,
  length: number,
  direction: 'toDevice' | 'fromDevice',
): void {
  if (length > 2048) throw new Error('QEMU aborts on longer transfers')
  const out = direction === 'toDevice'
  bar0.write64(EDU.dmaSource, out ? iova : EDU_BUFFER)
  bar0.write64(EDU.dmaTarget, out ? EDU_BUFFER : iova)
  bar0.write64(EDU.dmaLength, BigInt(length))
  bar0.write64(EDU.dmaCommand, out ? 1n : 3n)
  bar0.poll64(EDU.dmaCommand, { mask: 1n, equals: 0n, timeoutMicros: 10_000_000 })
}

/** Bytes that differ from place to place. */
export function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff)
}

/** Sends a buffer through the device and back, in halves, and returns what came back. */
export function throughEdu(bar0: Region, buffer: DmaBuffer, sent: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(buffer.buffer, 0, sent.length)
  for (let at = 0; at < sent.length; at += 2048) {
    const half = Math.min(2048, sent.length - at)
    bytes.set(sent.subarray(at, at + half), at)
    eduDma(bar0, buffer.iova + BigInt(at), half, 'toDevice')
    bytes.fill(0, at, at + half)
    eduDma(bar0, buffer.iova + BigInt(at), half, 'fromDevice')
  }
  return bytes.slice()
}

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
    this.bar0.write32(EDU.raise, causes)
  }

  /** The causes that are asserted. */
  get causes(): number {
    return this.bar0.read32(EDU.interruptStatus)
  }

  /** Takes every cause away; gives what they were. */
  acknowledge(): number {
    const { causes } = this
    this.bar0.write32(EDU.acknowledge, causes)
    return causes
  }

  [Symbol.dispose](): void {
    this.device[Symbol.dispose]()
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

/** Waits until a condition holds; fails after the time-out. */
export async function until(condition: () => boolean, what: string, milliseconds = 60_000): Promise<void> {
  const end = performance.now() + milliseconds
  while (!condition()) {
    if (performance.now() > end) throw new Error(`timed out waiting for ${what}`)
    await sleep(5)
  }
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
  return {
    descriptors: descriptors.sort(),
    mappings: mappings.sort(),
    threads: readdirSync('/proc/self/task').length,
  }
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

  /** @param fds descriptors that it gets copies of, as 3, 4 and so on */
  constructor(code: string, fds: readonly number[] = []) {
    const program = `const vfio = await import(${JSON.stringify(packageUrl)});
      const say = (value) => console.log(JSON.stringify(value));
      ${code}`
    this.#child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'pipe', ...fds],
    })
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
      if (this.#ended || performance.now() > end)
        throw new Error(`the other process said nothing: ${this.#errors}`)
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
