// An open device: its parts, and the order in which they go when it closes. Knows neither how devices are opened nor what stands
// behind this one.
import { VfioError } from '../errors.js'
import { SharedHandle } from '../handle.js'
import type { AddressSpace } from '../iommu/address-space.js'
import type { PciConfig } from '../pci/index.js'
import type { DeviceBackend, OpenedDevice } from './backend.js'
import { type DeviceCondition, conditionOf } from './condition.js'
import { type DeviceCore, kernelOf } from './core.js'
import { DeviceFeatures } from './features/features.js'
import { DeviceGfx, probeGfx } from './gfx/gfx.js'
import type { DeviceInfo } from '../uapi/vfio/device-info.js'
import type { InterruptIndex } from './interrupts.js'
import { IrqTable } from './irq-table.js'
import { DeviceMigration, readCapabilities } from './migration/migration.js'
import type { IrqName, PciRegionName } from './names.js'
import type { KvmOwner, OpenChoice } from './open/options.js'
import type { Region } from './region.js'
import { RegionTable } from './region-table.js'
import { resetFunction, resetFunctionSync } from './reset.js'

/** What a device is beside what stands behind it. @internal */
export interface DeviceIdentity {
  /** What errors call it. */
  readonly name: string
  /** What it sees as memory. */
  readonly addressSpace: AddressSpace
  readonly sysfsPath?: string | null
  /** Whether what can be mapped is mapped, and guarded (default true). */
  readonly guard?: boolean
  /** The descriptor of its group; null when it was opened without. */
  readonly groupFd?: number | null
  /** The virtual machine that was told of it, and is to be told when it goes. */
  readonly vm?: KvmOwner | undefined
  readonly opened?: OpenChoice
}

/** What every VfioDevice is, however it came to be. */
export abstract class OpenDevice extends SharedHandle<'VfioDevice'> implements DeviceCore {
  /** The BDF or mdev UUID. */
  readonly name: string
  /** Where sysfs has it; null for a device made from a descriptor. */
  readonly sysfsPath: string | null
  /** What the device sees as memory. */
  readonly addressSpace: AddressSpace
  /** Which way it was opened, and why; null for one made from a descriptor or a token. */
  readonly opened: OpenChoice | null
  /** VFIO_DEVICE_GET_INFO, as at opening. */
  readonly info: DeviceInfo
  /** @internal */
  readonly backend: DeviceBackend
  /** @internal */
  exclusive: { readonly name: string } | undefined
  /** Who answers when the kernel speaks of the device itself. @internal */
  protected abstract readonly events: { closeWithDevice(): void }
  readonly #regions: RegionTable
  readonly #irqs: IrqTable
  readonly #guard: boolean
  readonly #groupFd: number | null
  readonly #vm: KvmOwner | undefined
  #features: DeviceFeatures | undefined
  #migration: DeviceMigration | null | undefined
  #gfx: DeviceGfx | null | undefined
  #ending = false

  /** @internal */
  protected constructor({ native, backend }: OpenedDevice, identity: DeviceIdentity) {
    const { name, addressSpace, sysfsPath = null, guard = true, groupFd = null, vm, opened = null } = identity
    super(native, 'VfioDevice', name)
    this.name = name
    this.sysfsPath = sysfsPath
    this.addressSpace = addressSpace
    this.opened = opened
    this.#guard = guard
    this.#groupFd = groupFd
    this.#vm = vm
    this.backend = backend(() => (this.#ending ? this.nativeInFlight : this.native))
    this.info = this.backend.info()
    this.#regions = new RegionTable(this, guard)
    this.#irqs = new IrqTable(this)
    addressSpace.join(this)
  }

  /** @internal */
  protected override tokenDetails(): Readonly<Record<string, unknown>> {
    return {
      backend: this.backend.kind,
      name: this.name,
      sysfsPath: this.sysfsPath,
      space: this.addressSpace.share(),
      guard: this.#guard,
      groupFd: this.#groupFd,
    }
  }

  /** The descriptor's number. It stays this object's. */
  get fd(): number {
    return kernelOf(this, 'open').fd
  }

  /** Its number in the iommufd that it is bound to; null for one that was opened by its group. */
  get iommufdId(): number | null {
    return this.backend.kernel?.iommufdId ?? null
  }

  /**
   * The descriptor by which KVM knows the device: its group's, or its own where it was opened as a cdev; null for one that is
   * not the kernel's.
   * @internal
   */
  get vfioFileFd(): number | null {
    return this.#groupFd ?? this.backend.kernel?.fd ?? null
  }

  /** The virtual machine that it was opened for. @internal */
  get vm(): KvmOwner | undefined {
    return this.#vm
  }

  /** The PCI configuration space, typed. @throws VfioError on a device that is not PCI */
  get config(): PciConfig {
    return this.#regions.config
  }

  /**
   * A region by name or index, the same object at every call.
   * @throws VfioError EINVAL for an index that the device does not know
   */
  region(id: PciRegionName | number): Region {
    return this.#regions.get(id)
  }

  /** Every region that has a size. */
  regions(): Region[] {
    return this.#regions.all()
  }

  /** An interrupt index by name or number, the same object at every call. */
  irq(id: IrqName | number): InterruptIndex {
    return this.#irqs.get(id)
  }

  /** Every interrupt index that has a vector. */
  irqs(): InterruptIndex[] {
    return this.#irqs.all()
  }

  /** The optional features of the device (VFIO_DEVICE_FEATURE). */
  get features(): DeviceFeatures {
    return (this.#features ??= new DeviceFeatures(this))
  }

  /** The migration of the device; undefined where its driver has none (Linux 5.18 and up). */
  get migration(): DeviceMigration | undefined {
    if (this.#migration === undefined) {
      const capabilities = readCapabilities(this)
      this.#migration = capabilities === undefined ? null : new DeviceMigration(this, capabilities)
    }
    return this.#migration ?? undefined
  }

  /** The display of the device; undefined where it has none. */
  get gfx(): DeviceGfx | undefined {
    if (this.#gfx === undefined) {
      const kinds = probeGfx(this)
      this.#gfx = kinds === undefined ? null : new DeviceGfx(this, this.#regions, kinds)
    }
    return this.#gfx ?? undefined
  }

  /**
   * What the device answers to, asked of itself; a mediated device is `ready`. It costs a few accesses to the configuration
   * space, which wake a device that is in low power.
   */
  get condition(): DeviceCondition {
    const shown = this.#ask()
    return this.#features?.lowPower.allowed === true && shown !== 'device-lost' ? 'powered-down' : shown
  }

  /** False once the device is gone, or did not come back from a reset: unplugged, for example. */
  get present(): boolean {
    return this.condition !== 'device-lost'
  }

  /**
   * Resets the function (VFIO_DEVICE_RESET) and checks that it came back. Registers and bus mastering are then as after
   * power-up.
   * @throws VfioError EINVAL or ENOTTY when it has no reset of its own; `device-lost` when it answers no more (EIO where the
   *   kernel says that all went well), `powered-down` when it does not wake up
   */
  async reset(): Promise<void> {
    await resetFunction(this)
  }

  /** `reset`, blocking. */
  resetSync(): void {
    resetFunctionSync(this)
  }

  /** Turns the device's DMA off, interrupts off, and gives it back. Waits for calls in flight. Idempotent. */
  async close(): Promise<void> {
    await this.closeLater()
    if (this.addressSpace.leave(this)) await this.addressSpace.close()
  }

  [Symbol.dispose](): void {
    this.closeNow()
    if (this.addressSpace.leave(this)) this.addressSpace[Symbol.dispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** What the device itself shows of its condition; one that was closed meanwhile is not there to be asked. @internal */
  get shown(): DeviceCondition {
    return this.closed ? 'ready' : this.#ask()
  }

  #ask(): DeviceCondition {
    return this.info.bus === 'pci' ? conditionOf(() => this.config) : 'ready'
  }

  /** @internal */
  override running<T>(call: () => Promise<T>): Promise<T> {
    return super.running(call)
  }

  /** @internal */
  resetEnding(): void {
    this.#ending = true
    try {
      this.backend.resetSync()
    } finally {
      this.#ending = false
    }
  }

  /** @internal */
  afterReset(): void {
    this.#migration?.afterReset()
  }

  /** Whether something of a guest hangs on it. @internal */
  get wired(): boolean {
    return this.undoCount > 0
  }

  /** @internal */
  stopDma(): boolean {
    if (this.closed || this.info.bus !== 'pci') return false
    const { command } = this.config
    const was = command.busMaster
    if (was) command.busMaster = false
    return was
  }

  /** @internal */
  resumeDma(): void {
    if (!this.closed) this.config.command.busMaster = true
  }

  protected override beforeRelease(): void {
    const last = this.lastHolder
    if (last) {
      tolerate(() => {
        this.stopDma()
      })
    }
    tolerate(() => {
      if (last) this.#features?.closeWithDevice()
    })
    tolerate(() => {
      const reset = (): void => {
        this.backend.resetSync()
      }
      this.#migration?.closeWithDevice(last ? reset : null)
    })
    for (const irq of this.#irqs.opened()) {
      tolerate(() => {
        irq.closeWithDevice(last)
      })
    }
    this.undoAll()
    this.events.closeWithDevice()
    // Before the device: the kernel lets it go only when KVM has.
    tolerate(() => {
      const file = this.#vm === undefined ? null : this.vfioFileFd
      if (file !== null) this.#vm?.vfio.remove(file)
    })
    // Last, and read only now: stopDma() may just have opened the config space.
    this.#regions.closeWithDevice()
    this.backend.close?.()
    this.addressSpace.leave(this)
  }
}

/** Runs a step of closing. The kernel repeats all of them with the file; where one fails here the device is gone. */
function tolerate(step: () => void): void {
  try {
    step()
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
  }
}
