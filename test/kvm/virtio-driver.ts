// A driver of virtio over PCI as far as tests need one: sets a device up by its registers, puts chains into queues, and looks at what
// comes back. The registers and the memory are the test's.
import { AREA, COMMON, NOTIFY_STEP, STATUS } from '../../examples/devices/virtio/registers.js'

/** The registers of a device's BAR 0. */
export interface Registers {
  read(offset: number, width: 1 | 2 | 4): number
  write(offset: number, width: 1 | 2 | 4, value: number): void
}

/** Bytes that the device reads, or room for so many that it writes. */
export type Buffer = Uint8Array | number

/** What the device gave back. */
export interface Used {
  head: number
  written: number
}

const SIZE = 16
const STRIDE = 0x1_0000
const [AVAILABLE, USED, DATA] = [0x1000, 0x2000, 0x4000]
const BUFFER = 0x800
const [NEXT, WRITE] = [1, 2]

export class Driver {
  readonly #registers: Registers
  readonly #memory: Uint8Array
  readonly #view: DataView
  readonly #free = new Map<number, number>()
  readonly #seen = new Map<number, number>()

  /** @param memory the guest's, from address 0 on; queues lie from 64 KiB on, 64 KiB for each */
  constructor(registers: Registers, memory: Uint8Array) {
    this.#registers = registers
    this.#memory = memory
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
  }

  common(field: keyof typeof COMMON, width: 1 | 2 | 4, value?: number): number {
    const offset = AREA.common.at + COMMON[field]
    if (value === undefined) return this.#registers.read(offset, width)
    this.#registers.write(offset, width, value)
    return value
  }

  /** Any register of the BAR. */
  register(offset: number, width: 1 | 2 | 4): number {
    return this.#registers.read(offset, width)
  }

  /** What the device offers. */
  get offered(): bigint {
    const part = (select: number): bigint => {
      this.common('deviceFeatureSelect', 4, select)
      return BigInt(this.common('deviceFeature', 4))
    }
    return part(0) | (part(1) << 32n)
  }

  /** Accepts all of it, and starts the device with so many queues. @param vector of every queue */
  start(queues: number, vector = 0xffff): void {
    this.common('status', 1, 0)
    this.common('status', 1, STATUS.acknowledge | STATUS.driver)
    const { offered } = this
    for (const [select, part] of [offered & 0xffff_ffffn, offered >> 32n].entries()) {
      this.common('driverFeatureSelect', 4, select)
      this.common('driverFeature', 4, Number(part))
    }
    this.common('status', 1, STATUS.acknowledge | STATUS.driver | STATUS.featuresOk)
    for (let queue = 0; queue < queues; queue++) {
      const base = STRIDE * (queue + 1)
      this.#memory.fill(0, base, base + DATA)
      this.#free.set(queue, 0)
      this.#seen.set(queue, 0)
      this.common('queueSelect', 2, queue)
      this.common('queueSize', 2, SIZE)
      this.common('queueVector', 2, vector)
      for (const [field, at] of [
        ['queueDescriptors', 0],
        ['queueAvailable', AVAILABLE],
        ['queueUsed', USED],
      ] as const) {
        const offset = AREA.common.at + COMMON[field]
        this.#registers.write(offset, 4, base + at)
        this.#registers.write(offset + 4, 4, 0)
      }
      this.common('queueEnable', 2, 1)
    }
    this.common('status', 1, STATUS.acknowledge | STATUS.driver | STATUS.featuresOk | STATUS.driverOk)
  }

  /** Makes a chain available and rings. @returns the addresses of its buffers */
  send(queue: number, ...buffers: Buffer[]): number[] {
    const base = STRIDE * (queue + 1)
    const first = this.#free.get(queue) ?? 0
    const addresses = buffers.map((buffer, i) => {
      const index = first + i
      const address = base + DATA + BUFFER * index
      const bytes = typeof buffer === 'number' ? undefined : buffer
      if (bytes !== undefined) this.#memory.set(bytes, address)
      const at = base + 16 * index
      this.#view.setBigUint64(at, BigInt(address), true)
      this.#view.setUint32(at + 8, bytes?.length ?? Number(buffer), true)
      const more = i + 1 < buffers.length
      this.#view.setUint16(at + 12, (more ? NEXT : 0) | (bytes === undefined ? WRITE : 0), true)
      this.#view.setUint16(at + 14, index + 1, true)
      return address
    })
    this.#free.set(queue, first + buffers.length > SIZE - 4 ? 0 : first + buffers.length)
    const count = this.#view.getUint16(base + AVAILABLE + 2, true)
    this.#view.setUint16(base + AVAILABLE + 4 + 2 * (count % SIZE), first, true)
    this.#view.setUint16(base + AVAILABLE + 2, count + 1, true)
    this.ring(queue)
    return addresses
  }

  ring(queue: number): void {
    this.#registers.write(AREA.notify.at + queue * NOTIFY_STEP, 2, queue)
  }

  /** The chain that came back next. */
  used(queue: number): Used | undefined {
    const base = STRIDE * (queue + 1) + USED
    const seen = this.#seen.get(queue) ?? 0
    if (this.#view.getUint16(base + 2, true) === (seen & 0xffff)) return undefined
    this.#seen.set(queue, seen + 1)
    const at = base + 4 + 8 * (seen % SIZE)
    return { head: this.#view.getUint32(at, true), written: this.#view.getUint32(at + 4, true) }
  }

  /** Waits for it: a device may answer later. */
  async comes(queue: number): Promise<Used> {
    for (let tries = 0; tries < 2000; tries++) {
      const used = this.used(queue)
      if (used !== undefined) return used
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    throw new Error(`nothing came back in queue ${queue}`)
  }

  bytes(address: number, length: number): Uint8Array {
    return this.#memory.slice(address, address + length)
  }
}
