// A second device without a kernel, of another shape than device.ts: on a bus without a configuration space, its registers words
// that do something when they are written, its memory bytes, one interrupt, and no log, display or wrapper elsewhere.
import type {
  DeviceBackend,
  IrqData,
  MigrationSession,
  RegionCounters,
  RegionRegisters,
} from '../../ts/device/backend.js'
import { IRQ_ACTION } from '../../ts/device/backend.js'
import { VfioDevice } from '../../ts/device/device.js'
import type { DeviceInfo, IrqInfo, RegionInfo } from '../../ts/uapi/vfio/device-info.js'
import { EBADF, EINVAL, ENOTTY, VfioError } from '../../ts/errors.js'
import type { EventFd } from '../../ts/index.js'
import { addon } from '../../ts/native/index.js'
import { bigint, integer } from '../../ts/validate.js'
import { fakeSpace } from './space.js'

/** Byte offsets of the words of region 0. */
export const REGISTER = { id: 0, scratch: 4, doorbell: 8 } as const
export const ID = 0x504c_4154
const WORDS = 4
const MEMORY = 1024
const STATE = { stop: 1, running: 2, stopCopy: 3, resuming: 4 } as const
const FEATURE = { migration: 1, state: 2, busMaster: 10 } as const
const FLAG = { mask: 0xffff, get: 1 << 16, set: 1 << 17, probe: 1 << 18 } as const

/** One access: the value that was there, or is. */
type Access = (offset: number, width: number, value?: bigint) => bigint

/** Registers over one function that makes every access. */
class FunctionRegisters implements RegionRegisters {
  readonly faulted = false
  readonly counters: RegionCounters = { fileAccesses: 0, bulkBytes: 0 }
  readonly #size: number
  readonly #make: Access
  #closed = false

  constructor(size: number, make: Access) {
    this.#size = size
    this.#make = make
  }

  readonly #access: Access = (offset, width, value) => {
    if (this.#closed) throw new VfioError(EBADF, 'closed')
    integer(offset, 'offset', 0, this.#size - width)
    if (offset % width !== 0) throw new RangeError(`offset must be a multiple of ${String(width)}`)
    this.counters.fileAccesses++
    return this.#make(offset, width, value)
  }

  #reader(width: number): (offset: number) => number {
    return (offset) => Number(this.#access(offset, width))
  }

  #writer(width: number): (offset: number, value: number) => void {
    return (offset, value) => {
      this.#access(offset, width, BigInt(integer(value, 'value', 0, 2 ** (8 * width) - 1)))
    }
  }

  read8 = this.#reader(1)
  read16 = this.#reader(2)
  read32 = this.#reader(4)
  read64 = (offset: number): bigint => this.#access(offset, 8)
  read8Relaxed = this.read8
  read16Relaxed = this.read16
  read32Relaxed = this.read32
  read64Relaxed = this.read64
  write8 = this.#writer(1)
  write16 = this.#writer(2)
  write32 = this.#writer(4)
  write64 = (offset: number, value: bigint): void => {
    this.#access(offset, 8, bigint(value, 'value', 0n, (1n << 64n) - 1n))
  }
  write8Relaxed = this.write8
  write16Relaxed = this.write16
  write32Relaxed = this.write32
  write64Relaxed = this.write64

  poll(offset: number, width: number, mask: bigint, equals: bigint, timeoutMicros: number): bigint | null {
    const end = performance.now() + timeoutMicros / 1000
    for (;;) {
      const value = this.#access(offset, width)
      if ((value & mask) === equals) return value
      if (performance.now() >= end) return null
    }
  }

  read(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.read8(offset + i)
    this.counters.bulkBytes += bytes.length
  }

  write(offset: number, bytes: Uint8Array): void {
    bytes.forEach((byte, i) => {
      this.write8(offset + i, byte)
    })
    this.counters.bulkBytes += bytes.length
  }

  remap(): void {
    if (this.#closed) throw new VfioError(EBADF, 'closed')
  }

  close(): void {
    this.#closed = true
  }
}

export class PlatformDevice implements DeviceBackend {
  readonly kind = 'platform fake'
  readonly words = new Uint32Array(WORDS)
  readonly memory = new Uint8Array(MEMORY)
  busMaster = false
  resets = 0
  masked = false
  #state: number = STATE.running
  #eventfd: EventFd | null = null
  #incoming: number[] = []

  constructor() {
    this.words[REGISTER.id >> 2] = ID
  }

  info(): DeviceInfo {
    return { flags: 5, bus: 'platform', resettable: true, numRegions: 2, numIrqs: 1, capabilities: [] }
  }

  regionInfo(index: number): RegionInfo {
    const size = [4 * WORDS, MEMORY][index]
    if (size === undefined) throw new VfioError(EINVAL, 'VFIO_DEVICE_GET_REGION_INFO')
    const flags = { read: true, write: true, mmap: false, raw: 3 }
    return { index, flags, size, fileOffset: 0, capabilities: [] }
  }

  openRegion({ index, size }: RegionInfo): RegionRegisters {
    return new FunctionRegisters(size, index === 0 ? this.#word : this.#byte)
  }

  irqInfo(index: number): IrqInfo {
    if (index !== 0) throw new VfioError(EINVAL, 'VFIO_DEVICE_GET_IRQ_INFO')
    const flags = { eventfd: true, maskable: true, automasked: true, noresize: false, raw: 7 }
    return { index, count: 1, flags }
  }

  setIrqs(action: number, _index: number, _start: number, count: number, data: IrqData): void {
    if (Array.isArray(data)) this.#eventfd = (data as readonly (EventFd | null)[])[0] ?? null
    else if (action === IRQ_ACTION.mask) this.masked = true
    else if (action === IRQ_ACTION.unmask) this.masked = false
    else if (count === 0) this.#eventfd = null
    else this.#eventfd?.signal()
  }

  feature(flags: number, data: Uint8Array): Uint8Array {
    const id = flags & FLAG.mask
    const direction = id === FEATURE.busMaster ? FLAG.set : FLAG.get
    if (!Object.values<number>(FEATURE).includes(id)) throw new VfioError(ENOTTY, 'VFIO_DEVICE_FEATURE')
    if ((flags & direction) === 0) throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE')
    if ((flags & FLAG.probe) !== 0) return data
    const answer = Uint8Array.from(data)
    if (id === FEATURE.busMaster) this.busMaster = data[0] === 1
    else answer[0] = id === FEATURE.migration ? 1 : this.#state
    return answer
  }

  reset(): Promise<void> {
    this.resetSync()
    return Promise.resolve()
  }

  resetSync(): void {
    this.resets++
    this.words.fill(0, 1)
    this.memory.fill(0)
    this.#state = STATE.running
  }

  migrationSession(state: number): Promise<MigrationSession | null> {
    if (this.#state === STATE.resuming && state === STATE.stop) this.memory.set(this.#incoming)
    this.#incoming = []
    this.#state = state
    const saves = state === STATE.stopCopy
    return Promise.resolve(saves || state === STATE.resuming ? this.#session(saves) : null)
  }

  /** All of the memory in one chunk, or what is taken of it in any. */
  #session(saves: boolean): MigrationSession {
    let left = saves ? this.memory.slice() : new Uint8Array()
    const session = {
      closed: false,
      read: () => {
        const all = left
        left = new Uint8Array()
        return Promise.resolve(all)
      },
      write: (bytes: Uint8Array) => {
        this.#incoming.push(...bytes)
        return Promise.resolve(bytes.length)
      },
      close: () => {
        session.closed = true
      },
    }
    return session
  }

  readonly #word: Access = (offset, width, value) => {
    // Its registers are words, and take nothing else.
    if (width !== 4) throw new VfioError(EINVAL, 'access')
    if (value !== undefined && offset !== REGISTER.id) this.words[offset >> 2] = Number(value)
    if (value !== undefined && offset === REGISTER.doorbell) this.#raise()
    return BigInt(this.words[offset >> 2] ?? 0)
  }

  readonly #byte: Access = (offset, width, value) => {
    const view = new DataView(this.memory.buffer)
    let read = 0n
    for (let i = 0; i < width; i++) {
      if (value !== undefined) view.setUint8(offset + i, Number((value >> BigInt(8 * i)) & 0xffn))
      read |= BigInt(view.getUint8(offset + i)) << BigInt(8 * i)
    }
    return read
  }

  #raise(): void {
    if (this.masked) return
    this.masked = true
    this.#eventfd?.signal()
  }
}

export function platformDevice(): { device: VfioDevice; hardware: PlatformDevice } {
  const hardware = new PlatformDevice()
  const device = VfioDevice.of(
    { native: addon().eventfdCreate(0, false), backend: () => hardware },
    { name: 'fe000000.fake', addressSpace: fakeSpace().space.closeWithMembers() },
  )
  return { device, hardware }
}
