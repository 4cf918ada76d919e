// A device that no kernel stands behind: the other side of the seam of ts/device/backend.ts, for tests on any machine. Its
// regions are arrays, its interrupts are fired by the test, and it can stop answering.
import type { DeviceBackend, DmaLog, IrqData, MigrationSession } from '../../ts/device/backend.js'
import { VfioDevice } from '../../ts/device/device.js'
import { deviceKinds } from '../../ts/device/device-kinds.js'
import { FEATURES, FEATURE_FLAG, type FeatureName } from '../../ts/device/features/ids.js'
import type { DeviceInfo, IrqInfo, RegionArea, RegionInfo } from '../../ts/uapi/vfio/device-info.js'
import { MIGRATION_STATES } from '../../ts/device/migration/states.js'
import { EINVAL, ENOTTY, VfioError } from '../../ts/errors.js'
import { addon, type NativeHandle } from '../../ts/native/index.js'
import { FakeInterrupts } from './interrupts.js'
import { FakeMigration } from './migration.js'
import { ArrayRegisters, type Store } from './registers.js'
import { type FakeHost, fakeSpace } from './space.js'

const BAR0 = 0
const BAR2 = 2
const CONFIG = 7
/** Two pages of registers, with the MSI-X table in the second; a page of memory. */
const SIZES: Record<number, number> = { [BAR0]: 8192, [BAR2]: 4096, [CONFIG]: 256 }
const REGION_FLAGS = { read: true, write: true, mmap: true, raw: 7 }
const IRQ_FLAGS = { eventfd: true, maskable: false, automasked: false, noresize: true, raw: 9 }

/** An endpoint with a power management and an MSI-X capability, in D0, that decodes its memory. */
function configSpace(): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(256))
  view.setUint32(0x00, 0x11e8_1234, true)
  view.setUint32(0x04, 0x0010_0002, true)
  view.setUint32(0x10, 0xfe00_0000, true)
  view.setUint32(0x18, 0xfd00_0008, true)
  view.setUint8(0x34, 0x40)
  view.setUint32(0x40, 0x0003_4801, true)
  view.setUint32(0x48, 0x0003_0011, true)
  view.setUint32(0x4c, 0x0000_1000, true)
  view.setUint32(0x50, 0x0000_1800, true)
  return new Uint8Array(view.buffer)
}

export interface FakeDeviceOptions {
  /** Whether it can be reset (default true). */
  resettable?: boolean
  /** What its driver can, as VFIO_DEVICE_FEATURE_MIGRATION says it; 0 for none. */
  migration?: number
  /** Whether its sessions say what is left of pre-copying (default true). */
  tells?: boolean
  /** Whether it logs what it writes by DMA (default true). */
  dmaLog?: boolean
}

type Direction = (data: Uint8Array) => Uint8Array
type Feature = Partial<Record<'get' | 'set', Direction>>

function word(value: bigint): Direction {
  return (data) => {
    const answer = Uint8Array.from(data)
    new DataView(answer.buffer).setBigUint64(0, value, true)
    return answer
  }
}

/** The device itself, which outlives every object over it. */
export class FakeHardware {
  readonly stores = new Map<number, Store>(
    Object.entries(SIZES).map(([index, size]) => [
      Number(index),
      { bytes: Number(index) === CONFIG ? configSpace() : new Uint8Array(size), answers: true },
    ]),
  )
  readonly irqs = new FakeInterrupts(
    [1, 1, 4, 0, 1].map((count, index): IrqInfo => {
      const intx = index === 0
      return { index, count, flags: { ...IRQ_FLAGS, maskable: intx, automasked: intx } }
    }),
  )
  readonly migration: FakeMigration
  readonly options: Required<FakeDeviceOptions>
  resets = 0
  /** What a reset waits for. */
  gate: Promise<void> = Promise.resolve()
  /** Whether it answers after the next reset. */
  comesBack = true
  vfToken: Uint8Array | undefined
  lowPower = false
  /** The page size of the log; 0n while there is none. */
  logging = 0n
  readonly written = new Set<bigint>()

  constructor(options: FakeDeviceOptions) {
    this.options = { resettable: true, migration: 0, tells: true, dmaLog: true, ...options }
    const bar = this.stores.get(BAR0) as Store
    this.migration = new FakeMigration(
      {
        save: () => bar.bytes.slice(),
        load: (data) => {
          if (data.length !== bar.bytes.length)
            throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE')
          bar.bytes.set(data)
        },
      },
      this.options.migration,
      this.options.tells,
    )
  }

  bytes(index: number): Uint8Array<ArrayBuffer> {
    return this.#store(index).bytes
  }

  /** Whether the memory BARs answer. */
  set answers(answers: boolean) {
    for (const bar of [BAR0, BAR2]) this.#store(bar).answers = answers
  }

  get busMaster(): boolean {
    return ((this.bytes(CONFIG)[4] ?? 0) & 4) !== 0
  }

  reset(): void {
    if (!this.options.resettable) throw new VfioError(ENOTTY, 'VFIO_DEVICE_RESET')
    this.resets++
    for (const bar of [BAR0, BAR2]) this.bytes(bar).fill(0)
    this.migration.afterReset()
    if (!this.comesBack) this.bytes(CONFIG).fill(0xff)
  }

  readonly features: Partial<Record<FeatureName, Feature>> = {
    pciVfToken: {
      set: (data) => {
        this.vfToken = Uint8Array.from(data)
        return data
      },
    },
    lowPowerEntry: { set: this.#power(true) },
    lowPowerExit: { set: this.#power(false) },
  }

  #power(low: boolean): Direction {
    return (data) => {
      this.lowPower = low
      return data
    }
  }

  #store(index: number): Store {
    const store = this.stores.get(index)
    if (store === undefined) throw new VfioError(EINVAL, 'VFIO_DEVICE_GET_REGION_INFO')
    return store
  }

  feature(flags: number, data: Uint8Array): Uint8Array {
    const name = Object.entries(FEATURES).find(([, { id }]) => id === (flags & FEATURE_FLAG.mask))?.[0]
    const found = { ...this.features, ...this.#migrating(), ...this.#logged() }[name as FeatureName]
    if (found === undefined) throw new VfioError(ENOTTY, 'VFIO_DEVICE_FEATURE')
    const call = (flags & FEATURE_FLAG.get) !== 0 ? found.get : found.set
    if (call === undefined) throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE')
    return (flags & FEATURE_FLAG.probe) !== 0 ? data : call(data)
  }

  #migrating(): Partial<Record<FeatureName, Feature>> {
    const { migration } = this
    if (migration.flags === 0) return {}
    return {
      migration: { get: word(BigInt(migration.flags)) },
      migDeviceState: { get: word(BigInt(MIGRATION_STATES.indexOf(migration.state))) },
      migDataSize: { get: word(BigInt(this.bytes(BAR0).length)) },
    }
  }

  #logged(): Partial<Record<FeatureName, Feature>> {
    if (!this.options.dmaLog) return {}
    const same: Direction = (data) => data
    return {
      dmaLoggingStart: { set: same },
      dmaLoggingReport: { get: same },
      dmaLoggingStop: {
        set: (data) => {
          if (this.logging === 0n) throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE')
          this.logging = 0n
          return data
        },
      },
    }
  }

  readonly log: DmaLog = {
    start: (pageSize) => {
      if (this.logging !== 0n) throw new VfioError(EINVAL, 'VFIO_DEVICE_FEATURE')
      this.logging = pageSize
      return pageSize
    },
    report: (iova, length, pageSize) => {
      const bits = new Uint8Array(Number(length / pageSize / 8n) + 1)
      for (const page of this.written) {
        if (page < iova || page >= iova + length) continue
        const bit = Number((page - iova) / pageSize)
        bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (bit & 7))
        this.written.delete(page)
      }
      return bits
    },
  }
}

/** What stands between a VfioDevice and the hardware. */
export class FakeBackend implements DeviceBackend {
  readonly kind = 'fake'
  readonly dmaLog?: DmaLog
  readonly #own: () => NativeHandle
  readonly #hardware: FakeHardware

  constructor(own: () => NativeHandle, hardware: FakeHardware) {
    this.#own = own
    this.#hardware = hardware
    if (hardware.options.dmaLog) this.dmaLog = hardware.log
  }

  /** The hardware, as long as the device is open. */
  get #open(): FakeHardware {
    this.#own()
    return this.#hardware
  }

  info(): DeviceInfo {
    const { resettable } = this.#open.options
    return { flags: 2, bus: 'pci', resettable, numRegions: 9, numIrqs: 5, capabilities: [] }
  }

  regionInfo(index: number): RegionInfo {
    const { stores } = this.#open
    if (index > 8) throw new VfioError(EINVAL, 'VFIO_DEVICE_GET_REGION_INFO')
    const { bytes } = stores.get(index) ?? { bytes: new Uint8Array() }
    const mmap = index !== CONFIG && bytes.length > 0
    return { index, flags: { ...REGION_FLAGS, mmap }, size: bytes.length, fileOffset: 0, capabilities: [] }
  }

  openRegion(info: RegionInfo, areas: readonly RegionArea[]): ArrayRegisters {
    const store = this.#open.stores.get(info.index) ?? { bytes: new Uint8Array(), answers: true }
    return new ArrayRegisters(store, info, areas)
  }

  irqInfo(index: number): IrqInfo {
    return this.#open.irqs.info(index)
  }

  setIrqs(action: number, index: number, start: number, count: number, data: IrqData): void {
    this.#open.irqs.set(action, index, start, count, data)
  }

  feature(flags: number, data: Uint8Array): Uint8Array {
    return this.#open.feature(flags, data)
  }

  async reset(): Promise<void> {
    const hardware = this.#open
    await hardware.gate
    hardware.reset()
  }

  resetSync(): void {
    this.#open.reset()
  }

  migrationSession(state: number): Promise<MigrationSession | null> {
    return this.#open.migration.change(state)
  }
}

/** The hardware by the number of its native object, by which another wrapper finds it. */
const plugged = new Map<number, FakeHardware>()

deviceKinds.set('fake', {
  native: 'EventFd',
  over: (own) => new FakeBackend(own, plugged.get(addon().handleShare(own())) as FakeHardware),
})

/** A VfioDevice over a fake, and the hardware behind it. Every device has a native object: here an eventfd, which nobody signals. */
export function fakeDevice(options: FakeDeviceOptions = {}): {
  device: VfioDevice
  hardware: FakeHardware
  host: FakeHost
} {
  const native = addon().eventfdCreate(0, false)
  const hardware = new FakeHardware(options)
  plugged.set(addon().handleShare(native), hardware)
  const { space, host } = fakeSpace()
  const device = VfioDevice.of(
    { native, backend: (own) => new FakeBackend(own, hardware) },
    { name: 'the fake', addressSpace: space.closeWithMembers() },
  )
  return { device, hardware, host }
}
