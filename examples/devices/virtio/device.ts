// A virtio device on PCI (virtio 1.2, section 4.1), of which a subclass says what the queues carry: registers, features, status,
// queues, interrupts. It must not know any kind of device.
import { UserDevice } from 'node-vfio/vfio-user'

import { windowCapability } from './config-window.js'
import { type Chain, Queue } from './queue.js'
import {
  AREA,
  BAR_BYTES,
  COMMON,
  FEATURE,
  ISR,
  NOTIFY_STEP,
  NO_VECTOR,
  STATUS,
  virtioCapabilities,
} from './registers.js'

const VENDOR = 0x1af4
const SUBSYSTEM = 0x1100
/** Device ids of virtio 1.x begin here; the revision says that there is no older interface. */
const FIRST_DEVICE_ID = 0x1040
const REVISION = 1

export interface VirtioOptions {
  name: string
  /** The kind of device (virtio 1.2, section 5). */
  type: number
  classCode: number
  /** For each queue the most entries that it can have, a power of two. */
  queues: readonly number[]
  /** What the device offers, beside what every one of virtio 1 does. */
  features?: bigint
  /** The device's own configuration. The subclass changes it in place. */
  config?: Uint8Array
  /** Told what a driver did that no driver may do; the device then waits for its reset. */
  onError?: (error: Error) => void
}

interface QueueState {
  readonly most: number
  size: number
  vector: number
  enabled: boolean
  descriptors: bigint
  available: bigint
  used: bigint
  live: Queue | undefined
  /** Whether chains were given back that the driver has not been told of. */
  due: boolean
}

const newQueue = (most: number): QueueState => ({
  most,
  size: most,
  vector: NO_VECTOR,
  enabled: false,
  descriptors: 0n,
  available: 0n,
  used: 0n,
  live: undefined,
  due: false,
})

const low = (value: bigint): number => Number(value & 0xffff_ffffn)
const high = (value: bigint): number => Number(value >> 32n)
const withLow = (value: bigint, part: number): bigint => (value & ~0xffff_ffffn) | BigInt(part)
const withHigh = (value: bigint, part: number): bigint => (value & 0xffff_ffffn) | (BigInt(part) << 32n)

type Address = 'descriptors' | 'available' | 'used'

export abstract class VirtioDevice {
  /** What a server is given. */
  readonly device: UserDevice
  readonly #offered: bigint
  readonly #config: Uint8Array
  readonly #vectors: number
  readonly #onError: (error: Error) => void
  #queues: QueueState[]
  #status = 0
  #accepted = 0n
  #deviceFeatureSelect = 0
  #driverFeatureSelect = 0
  #queueSelect = 0
  #configVector = NO_VECTOR
  #generation = 0
  #isr = 0

  constructor(options: VirtioOptions) {
    const { name, type, classCode, queues, features = 0n, config = new Uint8Array(0) } = options
    this.#offered = features | FEATURE.version1 | FEATURE.indirectDescriptors
    this.#config = config
    this.#vectors = queues.length + 1
    this.#onError = options.onError ?? (() => undefined)
    this.#queues = queues.map(newQueue)
    this.device = new UserDevice({
      name,
      pci: {
        vendorId: VENDOR,
        deviceId: FIRST_DEVICE_ID + type,
        classCode,
        revision: REVISION,
        subsystemVendorId: VENDOR,
        subsystemId: SUBSYSTEM,
      },
      regions: {
        bar0: {
          size: BAR_BYTES,
          read: (offset, width) => this.#read(offset, width),
          write: (offset, _width, value) => this.#setCommon(offset, value),
          doorbells: queues.map((_, index) => ({
            offset: AREA.notify.at + index * NOTIFY_STEP,
            onRing: () => this.#notify(index),
          })),
        },
      },
      irqs: { intx: true, msix: this.#vectors },
      capabilities: [
        ...virtioCapabilities(),
        windowCapability(
          {
            read: (offset, width) => this.#read(offset, width),
            write: (offset, _width, value) => this.#writeAnywhere(offset, value),
          },
          BAR_BYTES,
        ),
      ],
      onReset: () => this.#reset(),
    })
  }

  /** A driver rang the bell of a queue, or has just started: chains may wait there. */
  protected abstract notified(queue: number): void

  /** A driver let go of the device, or the machine was reset: what it made is gone. */
  protected abstract onReset(): void

  /** What the driver accepted of what was offered. */
  protected get accepted(): bigint {
    return this.#accepted
  }

  /** Whether a driver runs the device. */
  get live(): boolean {
    return (this.#status & (STATUS.driverOk | STATUS.needsReset)) === STATUS.driverOk
  }

  /** The next chain of a queue. */
  protected take(queue: number): Chain | undefined {
    return this.live ? this.#queues[queue]?.live?.take() : undefined
  }

  /** Gives a chain back; the driver is told by `tell()`, or as `notified()` returns. */
  protected give(queue: number, chain: Chain, written: number): void {
    const state = this.#queues[queue]
    if (state?.live === undefined) return
    state.live.give(chain, written)
    state.due = true
  }

  /** Interrupts the driver for what was given back since the last time. */
  protected tell(): void {
    for (const state of this.#queues) {
      if (!state.due) continue
      state.due = false
      if (state.live?.wantsInterrupt === true) this.#interrupt(state.vector, ISR.queue)
    }
  }

  /** Runs what touches queues outside `notified()`, such as when input comes; a driver at fault stops the device. */
  protected guarded(work: () => void): void {
    try {
      work()
      this.tell()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      this.#status |= STATUS.needsReset
      this.#interrupt(this.#configVector, ISR.config)
      this.#onError(error)
    }
  }

  /** Tells the driver that the configuration has changed. */
  protected configChanged(): void {
    this.#generation = (this.#generation + 1) & 0xff
    if (this.live) this.#interrupt(this.#configVector, ISR.config)
  }

  #interrupt(vector: number, cause: number): void {
    if (vector === NO_VECTOR) {
      this.#isr |= cause
      this.device.raise('intx')
    } else {
      this.device.raise('msix', vector)
    }
  }

  #reset(): void {
    this.#queues = this.#queues.map(({ most }) => newQueue(most))
    this.#status = 0
    this.#accepted = 0n
    this.#queueSelect = 0
    this.#configVector = NO_VECTOR
    if (this.#isr !== 0) this.device.lower('intx')
    this.#isr = 0
    this.onReset()
  }

  #read(offset: number, width: number): number {
    if (offset < AREA.common.bytes) return this.#common(offset)
    if (offset === AREA.isr.at) {
      const causes = this.#isr
      this.#isr = 0
      if (causes !== 0) this.device.lower('intx')
      return causes
    }
    const at = offset - AREA.device.at
    if (at < 0 || at >= AREA.device.bytes) return 0
    let value = 0
    for (let i = width - 1; i >= 0; i--) value = value * 256 + (this.#config[at + i] ?? 0)
    return value
  }

  #common(offset: number): number {
    const queue = this.#queues[this.#queueSelect]
    switch (offset) {
      case COMMON.deviceFeatureSelect:
        return this.#deviceFeatureSelect
      case COMMON.deviceFeature:
        return part(this.#offered, this.#deviceFeatureSelect)
      case COMMON.driverFeatureSelect:
        return this.#driverFeatureSelect
      case COMMON.driverFeature:
        return part(this.#accepted, this.#driverFeatureSelect)
      case COMMON.configVector:
        return this.#configVector
      case COMMON.queueCount:
        return this.#queues.length
      case COMMON.status:
        return this.#status
      case COMMON.generation:
        return this.#generation
      case COMMON.queueSelect:
        return this.#queueSelect
      case COMMON.queueSize:
        return queue?.size ?? 0
      case COMMON.queueVector:
        return queue?.vector ?? NO_VECTOR
      case COMMON.queueEnable:
        return queue?.enabled === true ? 1 : 0
      case COMMON.queueNotifyOffset:
        return this.#queueSelect
    }
    const address = addressAt(offset)
    if (address === undefined || queue === undefined) return 0
    return address.upper ? high(queue[address.name]) : low(queue[address.name])
  }

  /** As through the BAR, whose doorbells are registers like others here. */
  #writeAnywhere(offset: number, value: number): void {
    if (offset >= AREA.notify.at) this.#notify((offset - AREA.notify.at) / NOTIFY_STEP)
    else this.#setCommon(offset, value)
  }

  #notify(index: number): void {
    if (this.live && this.#queues[index]?.live !== undefined) this.guarded(() => this.notified(index))
  }

  #setCommon(offset: number, value: number): void {
    switch (offset) {
      case COMMON.deviceFeatureSelect:
        this.#deviceFeatureSelect = value
        return
      case COMMON.driverFeatureSelect:
        this.#driverFeatureSelect = value
        return
      case COMMON.driverFeature:
        if (this.#driverFeatureSelect === 0) this.#accepted = withLow(this.#accepted, value)
        if (this.#driverFeatureSelect === 1) this.#accepted = withHigh(this.#accepted, value)
        return
      case COMMON.configVector:
        this.#configVector = this.#vector(value)
        return
      case COMMON.status:
        this.#setStatus(value)
        return
      case COMMON.queueSelect:
        this.#queueSelect = value
        return
    }
    const queue = this.#queues[this.#queueSelect]
    if (queue !== undefined) this.#setQueue(queue, offset, value)
  }

  #setQueue(queue: QueueState, offset: number, value: number): void {
    if (offset === COMMON.queueVector) {
      queue.vector = this.#vector(value)
      return
    }
    // What is enabled stays where it is.
    if (queue.enabled) return
    if (offset === COMMON.queueSize) {
      if (value > 0 && value <= queue.most && (value & (value - 1)) === 0) queue.size = value
    } else if (offset === COMMON.queueEnable) {
      queue.enabled = value === 1
      if (queue.enabled) queue.live = new Queue(this.device.dma, queue)
    } else {
      const address = addressAt(offset)
      if (address === undefined) return
      const set = address.upper ? withHigh : withLow
      queue[address.name] = set(queue[address.name], value)
    }
  }

  /** A vector that there is, or none, by which the driver sees that it was refused. */
  #vector(value: number): number {
    return value < this.#vectors ? value : NO_VECTOR
  }

  #setStatus(value: number): void {
    if (value === 0) {
      this.#reset()
      return
    }
    const refused = (this.#accepted & ~this.#offered) !== 0n || (this.#accepted & FEATURE.version1) === 0n
    const kept = refused ? value & ~STATUS.featuresOk : value
    const started = (kept & ~this.#status & STATUS.driverOk) !== 0
    this.#status = kept | (this.#status & STATUS.needsReset)
    // What was made available before the start.
    if (started) this.#queues.forEach((_, index) => this.#notify(index))
  }
}

function part(features: bigint, select: number): number {
  return select === 0 ? low(features) : select === 1 ? high(features) : 0
}

function addressAt(offset: number): { name: Address; upper: boolean } | undefined {
  const names: Record<number, Address> = {
    [COMMON.queueDescriptors]: 'descriptors',
    [COMMON.queueAvailable]: 'available',
    [COMMON.queueUsed]: 'used',
  }
  const name = names[offset & ~7]
  return name === undefined || (offset & 3) !== 0 ? undefined : { name, upper: (offset & 4) !== 0 }
}
