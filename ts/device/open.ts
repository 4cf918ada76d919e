// Opening a device through its IOMMU group: what stands in the way is found out and named; what was opened on the way
// is closed again.
import { existsSync } from 'node:fs'

import {
  EACCES,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  VfioError,
  type VfioErrorContext,
  attempt,
  attemptAsync,
} from '../errors.js'
import {
  groupViability,
  isVfioMember,
  readIommuGroup,
  resolveDevice,
  type ResolvedDevice,
} from '../host/index.js'
import { AddressSpace, type IommuType } from '../iommu/address-space.js'
import { addon, type NativeHandle } from '../native.js'
import { instance, object, oneOf, options as optionsOf, string, boolean } from '../validate.js'

export interface OpenOptions {
  /** The IOMMU driver for a space of the device's own, or a space to share (default `auto`: type1v2, else type1). */
  iommu?: 'auto' | IommuType | AddressSpace
  /** The VF token, a UUID, for a virtual function whose physical function is on vfio (Linux 5.7). */
  vfToken?: string
  /** Where sysfs is (default `/sys`). */
  sysfsRoot?: string
  /** Where device nodes are (default `/dev`). */
  devRoot?: string
  /**
   * Map register BARs and guard the mappings against SIGBUS (default true). Without, every access is a system call and
   * no signal handler is installed.
   */
  guard?: boolean
  /** Watch the request and error interrupts and answer them (default true); see `onRequest` and `onError`. */
  watch?: boolean
  /**
   * The virtual machine that the device is for: its KVM-VFIO device learns of it first, as drivers that want to know the
   * guest demand (GVT-g), and forgets it when the device closes.
   */
  vm?: KvmOwner
}

/** What is needed of a Vm here: the KVM-VFIO device, which takes a group's or a cdev's descriptor. */
export interface KvmOwner {
  readonly vfio: { add(fd: number): void; remove(fd: number): void }
}

export interface Checked {
  iommu: 'auto' | IommuType | AddressSpace
  vfToken: string | undefined
  sysfsRoot: string
  devRoot: string
  guard: boolean
  watch: boolean
  vm: KvmOwner | undefined
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const STATUS_VIABLE = 1

/** Spaces of this environment by their native identity, so that two devices in one group get one object. */
const spaces = new Map<number, WeakRef<AddressSpace>>()

export function checkOptions(options: OpenOptions | undefined): Checked {
  const {
    iommu = 'auto',
    vfToken,
    sysfsRoot = '/sys',
    devRoot = '/dev',
    guard = true,
    watch = true,
    vm,
  } = optionsOf(options, 'options')
  if (typeof iommu === 'string') oneOf(iommu, 'iommu', ['auto', 'type1v2', 'type1'])
  else instance(iommu, AddressSpace, 'iommu')
  if (vfToken !== undefined && !UUID.test(string(vfToken, 'vfToken')))
    throw new RangeError('vfToken must be a UUID')
  if (vm !== undefined) object(object(vm, 'vm').vfio, 'vm.vfio')
  return {
    iommu,
    vfToken,
    sysfsRoot: string(sysfsRoot, 'sysfsRoot'),
    devRoot: string(devRoot, 'devRoot'),
    guard: boolean(guard, 'guard'),
    watch: boolean(watch, 'watch'),
    vm,
  }
}

/** The device by name, with everything checked that sysfs can tell. */
export function findDevice(
  id: string,
  { sysfsRoot, devRoot }: Checked,
): ResolvedDevice & { iommuGroup: number } {
  string(id, 'id')
  const found = resolveDevice(id, { sysfsRoot, devRoot })
  if (found === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: id,
      reason: 'no-such-device',
      remedy: `There is no such device under ${sysfsRoot}; list them with \`vfio ls\`.`,
    })
  }
  if (found.iommuGroup === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: found.name,
      reason: 'no-iommu-group',
      remedy:
        'The device is behind no IOMMU: enable it in the firmware (VT-d, AMD-Vi) and on the kernel command line (intel_iommu=on).',
    })
  }
  if (found.kind !== 'mdev') checkDriver(found)
  return { ...found, iommuGroup: found.iommuGroup }
}

function checkDriver({ name, driver, vfioDev, sysfsPath }: ResolvedDevice): void {
  if (driver === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: name,
      reason: 'no-driver',
      remedy: `No driver has the device: bind it to vfio-pci (echo vfio-pci > ${sysfsPath}/driver_override; echo ${name} > /sys/bus/pci/drivers_probe).`,
    })
  }
  if (
    vfioDev !== null ||
    isVfioMember({ address: name, driver, vfioDev } as never) ||
    driver.includes('vfio')
  )
    return
  throw new VfioError(EBUSY, 'open', {
    subject: name,
    reason: 'wrong-driver',
    remedy: `The driver ${driver} has the device: unbind it and bind the device to vfio-pci.`,
  })
}

/** A group that is in an address space. */
export interface OpenGroup {
  group: NativeHandle
  space: AddressSpace
}

/**
 * The path of the group's node.
 * @throws VfioError `no-vfio-module`
 */
export function groupNode(group: number, options: Checked): string {
  const { devRoot } = options
  const container = `${devRoot}/vfio/vfio`
  // A space that is given is a container already, whoever answers behind it.
  if (options.iommu instanceof AddressSpace || existsSync(container))
    return `${devRoot}/vfio/${String(group)}`
  throw new VfioError(ENOENT, 'open', {
    subject: container,
    reason: 'no-vfio-module',
    remedy: 'VFIO is not loaded: modprobe vfio-pci vfio_iommu_type1.',
  })
}

/** Opens the group and puts it in the space that the options ask for. */
export function openGroup(device: ResolvedDevice & { iommuGroup: number }, options: Checked): OpenGroup {
  const path = groupNode(device.iommuGroup, options)
  const group = attempt(
    (error) => groupContext(path, error),
    () => addon().groupOpen(path),
  )
  try {
    checkViable(group, device, options)
    return { group, space: placeGroup(group, device, options) }
  } catch (error) {
    addon().handleRelease(group, false)
    throw error
  }
}

/** What the errno of opening a group means. */
export function groupContext(path: string, { code }: Pick<VfioError, 'code'>): VfioErrorContext {
  if (code === 'EBUSY') {
    return {
      subject: path,
      reason: 'group-busy',
      remedy: `Another process has the group open, and a group opens once: find it with \`fuser -v ${path}\`.`,
    }
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return {
      subject: path,
      reason: 'permission',
      remedy: `Run as root, or give yourself the group: chown $USER ${path}.`,
    }
  }
  if (code === 'ENOENT' || code === 'ENXIO') {
    return {
      subject: path,
      reason: 'no-group-node',
      remedy:
        'No device of the group is on a vfio driver (or udev made no node for it): bind the device to vfio-pci.',
    }
  }
  return { subject: path }
}

function checkViable(
  group: NativeHandle,
  device: ResolvedDevice & { iommuGroup: number },
  options: Checked,
): void {
  const status = addon().groupGetStatus(group)
  if ((status & STATUS_VIABLE) === 0) throw notViable(device, options)
}

/** The error that names who keeps a group from user space. */
export function notViable(device: ResolvedDevice & { iommuGroup: number }, options: Checked): VfioError {
  const members = readIommuGroup(device.iommuGroup, options)
  const offenders = members === null ? [] : groupViability(members).offenders
  const names = offenders.map(({ address, driver }) => `${address} (${driver})`).join(', ')
  return new VfioError(EBUSY, 'VFIO_GROUP_GET_STATUS', {
    subject: `group ${String(device.iommuGroup)} of ${device.name}`,
    reason: 'group-not-viable',
    remedy: `The group is given to user space as a whole; host drivers still hold ${names === '' ? 'a device in it' : names}: unbind them.`,
  })
}

function placeGroup(group: NativeHandle, device: ResolvedDevice, options: Checked): AddressSpace {
  const wanted = options.iommu
  const present = addon().groupContainer(group)
  if (present !== null) return placePresent(present, device, wanted)
  if (wanted instanceof AddressSpace) {
    attempt(
      (error) => spaceContext(device, error),
      () => {
        wanted.attachGroup(group)
      },
    )
    remember(wanted)
    return wanted
  }
  const space = AddressSpace.open({ iommu: wanted, devRoot: options.devRoot }).closeWithMembers()
  try {
    attempt(
      (error) => spaceContext(device, error),
      () => {
        space.attachGroup(group)
      },
    )
  } catch (error) {
    space[Symbol.dispose]()
    throw error
  }
  remember(space)
  return space
}

/** Another device of the group is open in this process, and a group is in one space: join it. */
function placePresent(
  container: NativeHandle,
  device: ResolvedDevice,
  wanted: Checked['iommu'],
): AddressSpace {
  const id = addon().handleShare(container)
  const known = spaces.get(id)?.deref()
  if (wanted instanceof AddressSpace && addon().handleShare(wanted.native) !== id) {
    addon().handleRelease(container, false)
    throw new VfioError(EBUSY, 'VFIO_GROUP_SET_CONTAINER', {
      subject: device.name,
      reason: 'other-address-space',
      remedy:
        'Another device of its group is open in a different AddressSpace: give that one, or close the device.',
    })
  }
  if (wanted instanceof AddressSpace || (known !== undefined && !known.closed)) {
    addon().handleRelease(container, false)
    return wanted instanceof AddressSpace ? wanted : (known as AddressSpace)
  }
  const space = AddressSpace.over(container).closeWithMembers()
  remember(space)
  return space
}

function spaceContext(device: ResolvedDevice, { code }: VfioError): VfioErrorContext {
  if (code === 'EINVAL' || code === 'EBUSY') {
    return {
      subject: device.name,
      remedy:
        'The IOMMUs of the devices in one AddressSpace must be compatible: open this one in a space of its own.',
    }
  }
  return { subject: device.name }
}

function remember(space: AddressSpace): void {
  for (const [id, ref] of spaces) if (ref.deref() === undefined) spaces.delete(id)
  spaces.set(addon().handleShare(space.native), new WeakRef(space))
}

function deviceContext(name: string, vfToken: string | undefined, { errno }: VfioError): VfioErrorContext {
  if (errno === EACCES) {
    return {
      subject: name,
      reason: 'permission',
      remedy:
        vfToken === undefined
          ? 'The physical function is on vfio: the virtual function needs its token (option vfToken).'
          : 'The physical function does not know this vfToken.',
    }
  }
  if (errno === EINVAL || errno === ENODEV)
    return { subject: name, remedy: 'The device has left its vfio driver.' }
  if (errno === EBUSY)
    return { subject: name, remedy: 'The device is open already, here or as a cdev elsewhere.' }
  return { subject: name }
}

function requestName(name: string, vfToken: string | undefined): string {
  return vfToken === undefined ? name : `${name} vf_token=${vfToken}`
}

/** VFIO_GROUP_GET_DEVICE_FD, which enables and resets the device. */
export function getDevice(group: NativeHandle, name: string, { vfToken }: Checked): Promise<NativeHandle> {
  return attemptAsync(
    (error) => deviceContext(name, vfToken, error),
    () => addon().groupGetDeviceFd(group, requestName(name, vfToken)),
  )
}

export function getDeviceSync(group: NativeHandle, name: string, { vfToken }: Checked): NativeHandle {
  return attempt(
    (error) => deviceContext(name, vfToken, error),
    () => addon().groupGetDeviceFdSync(group, requestName(name, vfToken)),
  )
}

/** Tells the virtual machine of the group, which it must know before the device is opened. */
export function tellVm({ group }: OpenGroup, { vm }: Checked): void {
  vm?.vfio.add(addon().handleFd(group))
}

/** Undoes openGroup, and tellVm where `told`. */
export function abandonGroup({ group, space }: OpenGroup, told?: KvmOwner): void {
  told?.vfio.remove(addon().handleFd(group))
  addon().handleRelease(group, false)
  if (space.unused) space[Symbol.dispose]()
}
