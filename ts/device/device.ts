// VfioDevice: the ways to a device (opened, adopted, claimed), and what it has to do with other devices and with the kernel
// around it. What an open one is made of is in open-device.ts.
import { attemptAsync } from '../errors.js'
import { type ShareToken, SharedHandle, releaseNative } from '../handle.js'
import { AddressSpace } from '../iommu/address-space.js'
import { type HwInfo, hwInfo } from '../iommu/iommufd/hw-info.js'
import { Hwpt } from '../iommu/iommufd/hwpt.js'
import type { NativeHandle } from '../native/index.js'
import { instance, integer, internal, options as optionsOf, string } from '../validate.js'
import type { OpenedDevice } from './backend.js'
import { type ConnectOptions, checkConnect, connectTo } from './connector.js'
import { kernelOf } from './core.js'
import { deviceKind } from './device-kinds.js'
import { DeviceEvents } from './events.js'
import { HotReset } from './hot-reset.js'
import { type DeviceIdentity, OpenDevice } from './open-device.js'
import { adopt, pathOf } from './open/adopt.js'
import { arrive } from './open/arrive.js'
import { findDevice } from './open/find.js'
import { type KvmOwner, type OpenOptions, checkOptions } from './open/options.js'
import { type Route, enable, enableSync } from './open/route.js'
import { startOpening } from './open/start.js'

const ATTACH = 'VFIO_DEVICE_ATTACH_IOMMUFD_PT'

export type DeviceEventHandler = (device: VfioDevice) => unknown

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
export class VfioDevice extends OpenDevice {
  /** @internal */
  protected override readonly events = new DeviceEvents<VfioDevice>()
  #hotReset: HotReset | undefined

  private constructor(opened: OpenedDevice, identity: DeviceIdentity) {
    super(internal(opened, 'VfioDevice', 'VfioDevice.open(address)'), identity)
  }

  /**
   * A device on whatever stands behind it: what every other way of making one comes to, and the door for a backend that is not
   * the kernel's. When it throws, the native object stays the caller's.
   * @internal
   */
  static of(opened: OpenedDevice, identity: DeviceIdentity): VfioDevice {
    return new VfioDevice(opened, identity)
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
    const { space: addressSpace, groupFd, choice: opened } = route
    return arrive(
      native,
      { route, name, vm },
      () => VfioDevice.#kernel(native, { name, sysfsPath, addressSpace, guard, groupFd, vm, opened }),
      (device) => {
        if (watch) device.events.watch(device, (event) => device.irq(event))
      },
    )
  }

  /** A device of the kernel's. */
  static #kernel(native: NativeHandle, identity: DeviceIdentity): VfioDevice {
    const { over } = deviceKind('kernel')
    return new VfioDevice({ native, backend: (own) => over(own, identity.name) }, identity)
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
    return VfioDevice.#kernel(native, { name, sysfsPath: pathOf(name), addressSpace: space, guard })
  }

  /**
   * Connects to a device that a process serves over a vfio-user socket: one written with `node-vfio/vfio-user`, libvfio-user or
   * the Rust crate. Everything works as on a device of the kernel's, but for what only that has (`attach`, `hotReset`, `gfx`,
   * dma-bufs). Registers block this thread until the server has answered: it must run on another one. The device is not reset, and
   * its address space is its own: memory is shown to the server by its descriptor.
   * @param target a path, or the descriptor of a connected UNIX stream socket, which is taken over
   * @throws VfioError ENOENT, ECONNREFUSED, EACCES; ENOTSOCK, EPROTOTYPE, ENOTCONN, with the descriptor still yours; ETIMEDOUT (`timeout`) when the server does not answer; EPROTO when it speaks
   *   another version
   */
  static async connect(target: string | number, options?: ConnectOptions): Promise<VfioDevice> {
    const checked = checkConnect(target, options)
    const { device: opened, space } = await connectTo(target, checked)
    const addressSpace = AddressSpace.of(space).closeWithMembers()
    let device: VfioDevice | undefined
    try {
      const { name, guard, watch } = checked
      device = new VfioDevice(opened, { name, addressSpace, guard })
      const made = device
      if (watch) made.events.watch(made, (event) => made.irq(event))
      return made
    } catch (error) {
      if (device === undefined) {
        releaseNative(opened.native)
        addressSpace[Symbol.dispose]()
      } else {
        device[Symbol.dispose]()
      }
      throw error
    }
  }

  /**
   * The device behind a token, in this environment; the last to close it gives it back. Requests and errors stay with the
   * environment that opened it.
   */
  static claim(token: ShareToken): VfioDevice {
    const make = (native: NativeHandle, details: ShareToken): VfioDevice => {
      const { name, sysfsPath, space, guard, groupFd, backend } = details
      if (typeof name !== 'string') throw new TypeError('token must come from share()')
      const { over } = deviceKind(backend)
      const claimed = AddressSpace.claim(space as ShareToken).closeWithMembers()
      try {
        return new VfioDevice(
          { native, backend: (own) => over(own, name) },
          {
            name,
            sysfsPath: typeof sysfsPath === 'string' ? sysfsPath : null,
            addressSpace: claimed,
            guard: guard !== false,
            groupFd: typeof groupFd === 'number' ? groupFd : null,
          },
        )
      } catch (error) {
        claimed[Symbol.dispose]()
        throw error
      }
    }
    return SharedHandle.claimed(token, 'VfioDevice', make, ({ backend }) => deviceKind(backend).native)
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
    const kernel = kernelOf(this, ATTACH)
    await this.running(() =>
      attemptAsync({ subject: this.name }, () =>
        target instanceof Hwpt
          ? kernel.attachHwpt(target.native, pasid)
          : kernel.attachIoas(target.native, pasid),
      ),
    )
  }

  /** Takes the device, or one PASID of it, off its page table: its DMA then goes nowhere (Linux 6.6). */
  async detach(options?: { pasid?: number }): Promise<void> {
    const pasid = pasidOf(options)
    const kernel = kernelOf(this, 'VFIO_DEVICE_DETACH_IOMMUFD_PT')
    await this.running(() => attemptAsync({ subject: this.name }, () => kernel.detach(pasid)))
  }

  /** The reset of the whole bus or slot that the device is on. */
  get hotReset(): HotReset {
    return (this.#hotReset ??= new HotReset(this, (device, name) => instance(device, VfioDevice, name)))
  }

  /**
   * Called when the kernel asks for the device back (another process unbinds it, or it is unplugged): close it, or the
   * other side waits. Without a handler the device is closed, with a warning; but not while it is wired to a guest, which
   * only its VMM can take it from.
   */
  get onRequest(): DeviceEventHandler | null {
    return this.events.onRequest
  }
  set onRequest(handler: DeviceEventHandler | null) {
    this.events.onRequest = handler
  }

  /**
   * Called when the bus reports an uncorrectable error of the device (PCI Express AER). Without a handler there is a
   * warning, and bus mastering goes off.
   */
  get onError(): DeviceEventHandler | null {
    return this.events.onError
  }
  set onError(handler: DeviceEventHandler | null) {
    this.events.onError = handler
  }
}

function pasidOf(options: { pasid?: number } | undefined): number | null {
  const { pasid } = optionsOf(options, 'options')
  return pasid === undefined ? null : integer(pasid, 'pasid', 1, 0xf_ffff)
}
