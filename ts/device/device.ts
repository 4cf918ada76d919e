// VfioDevice: an open VFIO device. Ties together its regions, interrupts, config space and address space, and the order
// in which they go.
import { EBADF, VfioError, attempt, attemptAsync } from '../errors.js'
import { type ShareToken, SharedHandle } from '../handle.js'
import { resolveDevice } from '../host/index.js'
import { AddressSpace } from '../iommu/address-space.js'
import { type HwInfo, hwInfo } from '../iommu/iommufd/hw-info.js'
import { Hwpt } from '../iommu/iommufd/hwpt.js'
import { attachTo, attachToSync } from '../iommu/iommufd/attach.js'
import { addon, type NativeHandle } from '../native/index.js'
import { PciConfig } from '../pci/index.js'
import { instance, integer, options as optionsOf, string } from '../validate.js'
import { type DeviceBackend, KernelBackend } from './backend.js'
import { type DeviceCondition, conditionOf, troubleError } from './condition.js'
import { DeviceEvents } from './events.js'
import { DeviceFeatures } from './features/features.js'
import { DeviceGfx, probeGfx } from './gfx/gfx.js'
import { HotReset } from './hot-reset.js'
import type { DeviceInfo } from './info.js'
import { InterruptIndex } from './interrupts.js'
import { DeviceMigration, type MigrationOwner, readCapabilities } from './migration/migration.js'
import { type IrqName, PCI_REGIONS, type PciRegionName, irqIndex, regionIndex, regionName } from './names.js'
import {
  type KvmOwner,
  type OpenChoice,
  type OpenOptions,
  checkOptions,
  findDevice,
  startOpening,
} from './open.js'
import { Region } from './region.js'
import { type ResettableDevice, resetFunction, resetFunctionSync } from './reset.js'
import { type Route, abandon, enable, enableSync } from './route.js'

export type DeviceEventHandler = (device: VfioDevice) => unknown

interface Identity {
  name: string
  sysfsPath: string | null
  space: AddressSpace
  guard: boolean
  /** The descriptor of its group; null when it was opened without. */
  groupFd: number | null
  /** The virtual machine that was told of it, and is to be told when it goes. */
  vm?: KvmOwner | undefined
  opened?: OpenChoice
}

/** What `fromFd` is told about a descriptor from elsewhere. */
export interface FromFdOptions {
  /** What errors call it (default: its file descriptor). */
  name?: string
  /** The address space that it is in; for a node that is not bound yet, the space of iommufd that it is to be in. */
  addressSpace: AddressSpace
  /** As for `open`. */
  guard?: boolean
}

/**
 * A device that this process drives through VFIO. Opening it enables and, where it can, resets it; bus mastering is off
 * until `config.command.busMaster` is set. Closing it turns its DMA and interrupts off and gives it back.
 */
export class VfioDevice extends SharedHandle<'VfioDevice'> {
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
  exclusive: InterruptIndex | undefined
  readonly #regions = new Map<number, Region>()
  readonly #irqs = new Map<number, InterruptIndex>()
  readonly #guard: boolean
  #config: PciConfig | undefined
  #features: DeviceFeatures | undefined
  #migration: DeviceMigration | null | undefined
  #hotReset: HotReset | undefined
  #gfx: DeviceGfx | null | undefined
  readonly #events = new DeviceEvents<VfioDevice>()
  readonly #groupFd: number | null
  readonly #vm: KvmOwner | undefined

  private constructor(
    native: NativeHandle,
    { name, sysfsPath, space, guard, groupFd, vm, opened }: Identity,
  ) {
    super(native, 'VfioDevice', name)
    this.name = name
    this.sysfsPath = sysfsPath
    this.addressSpace = space
    this.opened = opened ?? null
    this.#guard = guard
    this.#groupFd = groupFd
    this.#vm = vm
    this.backend = new KernelBackend(() => this.native)
    this.info = this.backend.deviceInfo()
    space.join(this)
  }

  /**
   * Opens a device.
   * @param id a BDF (`0000:01:00.0`, `01:00.0`), the UUID of a mediated device, or a path in sysfs
   * @throws VfioError with `reason` `no-such-device`, `no-iommu-group`, `no-driver`, `wrong-driver`, `no-vfio-module`,
   *   `no-iommufd`, `no-cdev`, `permission`, `group-busy`, `device-busy`, `group-not-viable`, `unsafe-interrupts` or
   *   `other-address-space`
   */
  static async open(id: string, options?: OpenOptions): Promise<VfioDevice> {
    const checked = checkOptions(options)
    const found = findDevice(id, checked)
    const route = startOpening(found, checked)
    const arrived = route.space.expectMember()
    try {
      return VfioDevice.#finish(await enable(route, checked.vm), route, found, checked)
    } finally {
      arrived()
    }
  }

  /** `open`, blocking: enabling and resetting the device may take long. */
  static openSync(id: string, options?: OpenOptions): VfioDevice {
    const checked = checkOptions(options)
    const found = findDevice(id, checked)
    const route = startOpening(found, checked)
    return VfioDevice.#finish(enableSync(route, checked.vm), route, found, checked)
  }

  static #finish(
    native: NativeHandle,
    route: Route,
    { name, sysfsPath }: { name: string; sysfsPath: string },
    { guard, watch, vm }: { guard: boolean; watch: boolean; vm: KvmOwner | undefined },
  ): VfioDevice {
    const { space, groupFd, choice } = route
    let device: VfioDevice | undefined
    try {
      // Enabling takes time, in which what it was opened for may have been closed.
      if (space.closed) throw new VfioError(EBADF, 'closed', { subject: space.label })
      if (vm?.closed === true) throw new VfioError(EBADF, 'closed', { subject: `the Vm of ${name}` })
      device = new VfioDevice(native, { name, sysfsPath, space, guard, groupFd, vm, opened: choice })
      route.done()
      if (watch) device.#events.watch(device)
      return device
    } catch (error) {
      if (device === undefined) {
        abandon(route, vm)
        addon().handleRelease(native, false)
      } else {
        device[Symbol.dispose]()
      }
      throw error
    }
  }

  /**
   * Takes ownership of a device's descriptor, from VFIO_GROUP_GET_DEVICE_FD in another program for example. Its group
   * must stay open there. The descriptor of a device's own node is bound to the space's iommufd and attached, if it is not
   * bound yet.
   */
  static fromFd(fd: number, options: FromFdOptions): VfioDevice {
    integer(fd, 'fd', 0, 0x7fff_ffff)
    const { name = `device fd ${String(fd)}`, addressSpace, guard = true } = optionsOf(options, 'options')
    string(name, 'name')
    const space = instance(addressSpace, AddressSpace, 'addressSpace')
    const native = adopt(fd, space)
    const bdf = /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i.test(name)
    const sysfsPath = bdf ? (resolveDevice(name)?.sysfsPath ?? null) : null
    return new VfioDevice(native, { name, sysfsPath, space, guard, groupFd: null })
  }

  /**
   * The device behind a token, in this environment; the last to close it gives it back. Requests and errors stay with the
   * environment that opened it.
   */
  static claim(token: ShareToken): VfioDevice {
    return SharedHandle.claimed(token, 'VfioDevice', (native, details) => {
      const { name, sysfsPath, space, guard, groupFd } = details
      if (typeof name !== 'string') throw new TypeError('token must be what share() returned')
      const claimed = AddressSpace.claim(space as ShareToken).closeWithMembers()
      try {
        return new VfioDevice(native, {
          name,
          sysfsPath: typeof sysfsPath === 'string' ? sysfsPath : null,
          space: claimed,
          guard: guard !== false,
          groupFd: typeof groupFd === 'number' ? groupFd : null,
        })
      } catch (error) {
        claimed[Symbol.dispose]()
        throw error
      }
    })
  }

  /** @internal */
  protected override tokenDetails(): Readonly<Record<string, unknown>> {
    return {
      name: this.name,
      sysfsPath: this.sysfsPath,
      space: this.addressSpace.share(),
      guard: this.#guard,
      groupFd: this.#groupFd,
    }
  }

  /** The descriptor's number. It stays this object's. */
  get fd(): number {
    return addon().handleFd(this.native)
  }

  /** Its number in the iommufd that it is bound to; null for one that was opened by its group. */
  get iommufdId(): number | null {
    return addon().deviceIommufdId(this.native)
  }

  /**
   * What the IOMMU behind the device can do (IOMMU_GET_HW_INFO, Linux 6.6).
   * @param type ask for the data of this kind (default: that of the IOMMU's driver)
   * @throws TypeError for a device that was opened by its group
   */
  hwInfo(type?: number): HwInfo {
    return hwInfo(this, type)
  }

  /**
   * Puts the device, or one PASID of it, on another page table, in place of what it was on
   * (VFIO_DEVICE_ATTACH_IOMMUFD_PT, Linux 6.6; PASIDs Linux 6.16). `addressSpace` stays the one that it was opened in.
   * @param target a hardware page table or an address space, of the same iommufd
   * @param options `pasid` 1 to 2^20 - 1 (default: the device's own requests)
   * @throws VfioError EOPNOTSUPP for a PASID of a device that has none
   */
  async attach(target: AddressSpace | Hwpt, options?: { pasid?: number }): Promise<void> {
    const pasid = pasidOf(options)
    if (!(target instanceof Hwpt)) instance(target, AddressSpace, 'target')
    await this.running(() =>
      attemptAsync({ subject: this.name }, async () => {
        if (target instanceof Hwpt) await addon().deviceAttachHwpt(this.native, target.native, pasid)
        else await attachTo(target.native, this.native, pasid)
      }),
    )
  }

  /** Takes the device, or one PASID of it, off its page table: its DMA then goes nowhere (Linux 6.6). */
  async detach(options?: { pasid?: number }): Promise<void> {
    const pasid = pasidOf(options)
    await this.running(() =>
      attemptAsync({ subject: this.name }, () => addon().deviceDetach(this.native, pasid)),
    )
  }

  /** The descriptor by which KVM knows the device: its group's, or its own where it was opened as a cdev. @internal */
  get vfioFileFd(): number {
    return this.#groupFd ?? this.fd
  }

  /** The virtual machine that it was opened for. @internal */
  get vm(): KvmOwner | undefined {
    return this.#vm
  }

  /** The PCI configuration space, typed. @throws VfioError on a device that is not PCI */
  get config(): PciConfig {
    return (this.#config ??= new PciConfig(this.region('config')))
  }

  /**
   * A region by name or index, the same object at every call.
   * @throws VfioError EINVAL for an index that the device does not know
   */
  region(id: PciRegionName | number): Region {
    const index = regionIndex(id, this.info.bus)
    const held = this.#regions.get(index)
    if (held !== undefined) return held
    // Not checked against info.numRegions: device-specific regions may lie beyond it.
    const name = regionName(index, this.info.bus)
    const label = `${name} of ${this.name}`
    const info = attempt({ subject: label }, () => this.backend.regionInfo(index))
    const region = new Region(info, {
      label,
      name,
      file: this.native,
      msixTable: index <= 5 && info.flags.mmap ? this.#msixTableIn(index) : null,
      memoryLike: index <= 5 && this.#prefetchable(index),
      guard: this.#guard && index !== PCI_REGIONS.indexOf('config'),
      decodes: () => this.#decodes(label),
      owner: this,
    })
    this.#regions.set(index, region)
    return region
  }

  /** Every region that has a size. */
  regions(): Region[] {
    const found: Region[] = []
    for (let index = 0; index < this.info.numRegions; index++) {
      try {
        const region = this.region(index)
        if (region.size > 0) found.push(region)
      } catch (error) {
        // An index without a region (VGA on most devices) is EINVAL.
        if (!(error instanceof VfioError) || error.code !== 'EINVAL') throw error
      }
    }
    return found
  }

  /** An interrupt index by name or number, the same object at every call. */
  irq(id: IrqName | number): InterruptIndex {
    const index = irqIndex(id, this.info.bus)
    const held = this.#irqs.get(index)
    if (held !== undefined) return held
    const info = attempt({ subject: `irq ${String(id)} of ${this.name}` }, () => this.backend.irqInfo(index))
    const irq = new InterruptIndex(info, this, this.info.bus)
    this.#irqs.set(index, irq)
    return irq
  }

  /** Every interrupt index that has a vector. */
  irqs(): InterruptIndex[] {
    const found: InterruptIndex[] = []
    for (let index = 0; index < this.info.numIrqs; index++) {
      try {
        const irq = this.irq(index)
        if (irq.count > 0) found.push(irq)
      } catch (error) {
        // ERR of a device that is not PCI Express is EINVAL.
        if (!(error instanceof VfioError) || error.code !== 'EINVAL') throw error
      }
    }
    return found
  }

  /** The optional features of the device (VFIO_DEVICE_FEATURE). */
  get features(): DeviceFeatures {
    return (this.#features ??= new DeviceFeatures(this))
  }

  /** The migration of the device; undefined where its driver has none (Linux 5.18 and up). */
  get migration(): DeviceMigration | undefined {
    if (this.#migration === undefined) {
      const capabilities = readCapabilities(this)
      const owner = migrationOwner(
        this,
        (call) => this.running(call),
        () => {
          addon().deviceResetSync(this.nativeInFlight)
        },
      )
      this.#migration = capabilities === undefined ? null : new DeviceMigration(owner, capabilities)
    }
    return this.#migration ?? undefined
  }

  /** The reset of the whole bus or slot that the device is on. */
  get hotReset(): HotReset {
    return (this.#hotReset ??= new HotReset(this.#resettable(), (device, name) =>
      instance(device, VfioDevice, name).#resettable(),
    ))
  }

  /** The display of the device; undefined where it has none. */
  get gfx(): DeviceGfx | undefined {
    if (this.#gfx === undefined) {
      const kinds = probeGfx(this)
      this.#gfx = kinds === undefined ? null : new DeviceGfx(this, kinds)
    }
    return this.#gfx ?? undefined
  }

  /**
   * Called when the kernel asks for the device back (another process unbinds it, or it is unplugged): close it, or the
   * other side waits. Without a handler the device is closed, with a warning; but not while it is wired to a guest, which
   * only its VMM can take it from.
   */
  get onRequest(): DeviceEventHandler | null {
    return this.#events.onRequest
  }
  set onRequest(handler: DeviceEventHandler | null) {
    this.#events.onRequest = handler
  }

  /**
   * Called when the bus reports an uncorrectable error of the device (PCI Express AER). Without a handler there is a
   * warning, and bus mastering goes off.
   */
  get onError(): DeviceEventHandler | null {
    return this.#events.onError
  }
  set onError(handler: DeviceEventHandler | null) {
    this.#events.onError = handler
  }

  /**
   * What the device answers to, asked of itself; a mediated device is `ready`. It costs a few accesses to the configuration
   * space, which wake a device that is in low power.
   */
  get condition(): DeviceCondition {
    const shown = this.#shown
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
    await resetFunction(this.#resettable())
  }

  /** `reset`, blocking. */
  resetSync(): void {
    resetFunctionSync(this.#resettable())
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
      this.#migration?.closeWithDevice(
        last
          ? () => {
              addon().deviceResetSync(this.native)
            }
          : null,
      )
    })
    for (const irq of this.#irqs.values()) {
      tolerate(() => {
        irq.closeWithDevice(last)
      })
    }
    this.undoAll()
    this.#events.closeWithDevice()
    // Before the device: the kernel lets it go only when KVM has.
    tolerate(() => {
      this.#vm?.vfio.remove(this.vfioFileFd)
    })
    // Last, and read only now: stopDma() may just have opened the config space.
    for (const region of this.#regions.values()) region.closeWithDevice()
    this.addressSpace.leave(this)
  }

  #resettable(): ResettableDevice {
    const native = (): NativeHandle => this.native
    // One that was closed meanwhile is not there to be asked.
    const condition = (): DeviceCondition => (this.closed ? 'ready' : this.#shown)
    return {
      name: this.name,
      get native() {
        return native()
      },
      get condition() {
        return condition()
      },
      inFlight: (call) => this.running(call),
      afterReset: () => {
        this.#migration?.afterReset()
      },
    }
  }

  /** What the device itself shows of its condition. */
  get #shown(): DeviceCondition {
    return this.info.bus === 'pci' ? conditionOf(this.config) : 'ready'
  }

  #decodes(label: string): boolean {
    const { condition } = this
    if (condition === 'device-lost' || condition === 'powered-down')
      throw troubleError('mmap', label, condition)
    return condition === 'ready'
  }

  #msixTableIn(bar: number): { offset: number; size: number } | null {
    if (this.info.bus !== 'pci') return null
    const table = this.config.capability('msix')?.table
    return table?.bar === bar ? { offset: table.offset, size: table.size } : null
  }

  #prefetchable(bar: number): boolean {
    if (this.info.bus !== 'pci') return false
    return this.config.bars.some((each) => each.index === bar && 'prefetchable' in each && each.prefetchable)
  }
}

function migrationOwner(
  device: VfioDevice,
  inFlight: MigrationOwner['inFlight'],
  resetClosing: () => void,
): MigrationOwner {
  return {
    backend: device.backend,
    label: device.name,
    get native() {
      return device.native
    },
    get closed() {
      return device.closed
    },
    inFlight,
    reset: () => device.reset(),
    resetClosing,
  }
}

function pasidOf(options: { pasid?: number } | undefined): number | null {
  const { pasid } = optionsOf(options, 'options')
  return pasid === undefined ? null : integer(pasid, 'pasid', 1, 0xf_ffff)
}

/** A device's descriptor as a native object, enabled. */
function adopt(fd: number, space: AddressSpace): NativeHandle {
  try {
    return addon().deviceFromFd(fd, null)
  } catch (error) {
    // A node that is not bound refuses every question so.
    if (!(error instanceof VfioError) || error.code !== 'EINVAL' || space.iommufd === null) throw error
  }
  const native = addon().cdevFromFd(fd)
  try {
    addon().deviceBindSync(native, space.iommufd.native, null)
    attachToSync(space.native, native, null)
    return native
  } catch (error) {
    addon().handleRelease(native, false)
    throw error
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
