// Opening a device: what may be asked for, what sysfs says stands in the way, and which of the kernel's two ways is taken.
// The ways themselves are in open-group.ts and open-cdev.ts.
import { channel } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import { debuglog } from 'node:util'

import { EBUSY, ENODEV, ofNode, VfioError, type VfioErrorContext } from '../errors.js'
import { isVfioMember, resolveDevice, type ResolvedDevice } from '../host/index.js'
import { lazyMachine, type Machine } from '../host/machine.js'
import { noGroup } from '../host/remedies.js'
import { AddressSpace } from '../iommu/address-space.js'
import type { IommuType } from '../iommu/backend.js'
import { instance, object, oneOf, options as optionsOf, string, boolean } from '../validate.js'
import { nodeContext, openCdev } from './open-cdev.js'
import { groupContext, groupNode, openGroup } from './open-group.js'
import type { Route } from './route.js'

export interface OpenOptions {
  /**
   * The IOMMU interface for a space of the device's own, or a space to share. Default `auto`: `iommufd` where the kernel has
   * it and the device a node of its own, else the device's group with `type1v2` or `type1`; `device.opened` says which.
   */
  iommu?: 'auto' | IommuType | AddressSpace
  /**
   * The VF token, a UUID, for a virtual function whose physical function is on vfio (Linux 5.7; 6.18 where the device is opened
   * by its own node).
   */
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
  /** True once it is closed: a device that was being opened for it is let go of again. */
  readonly closed?: boolean
  readonly vfio: { add(fd: number): void; remove(fd: number): void }
}

/** Which way a device was opened, and why. Also published on the diagnostics channel `node-vfio:open`. */
export interface OpenChoice {
  /** By its own node and an iommufd, or by its group and a container. */
  readonly through: 'cdev' | 'group'
  /** The node that was opened. */
  readonly node: string
  /**
   * `asked`: the option `iommu` names it. `address-space`: the given space is of that kind. Of `auto`: `preferred`, or the group
   * because there is `no-iommufd` (/dev/iommu) or `no-cdev` (no node of the device).
   */
  readonly why: 'asked' | 'address-space' | 'preferred' | 'no-iommufd' | 'no-cdev'
}

/** A device that is there. */
export type FoundDevice = ResolvedDevice & { iommuGroup: number }

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

const openings = channel('node-vfio:open')
const debug = debuglog('vfio')

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
  if (typeof iommu === 'string') oneOf(iommu, 'iommu', ['auto', 'iommufd', 'type1v2', 'type1', 'noiommu'])
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

/** What the host cannot be asked fails as everything else of an opening does. */
function ofHost<T>(subject: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw ofNode(error, { subject })
  }
}

/** The device by name, with everything checked that sysfs can tell. */
export function findDevice(id: string, { sysfsRoot, devRoot }: Checked): FoundDevice {
  string(id, 'id')
  const found = ofHost(id, () => resolveDevice(id, { sysfsRoot, devRoot }))
  if (found === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: id,
      reason: 'no-such-device',
      remedy: `There is no such device under ${sysfsRoot}; list them with \`vfio ls\`.`,
    })
  }
  return checkFound(found, lazyMachine({ sysfsRoot, devRoot }))
}

/**
 * What sysfs has told of a device already, with everything checked that it can tell.
 * @param machine is asked only for what to say when something is missing
 */
export function checkFound(found: ResolvedDevice, machine: () => Machine = lazyMachine()): FoundDevice {
  if (found.iommuGroup === null) {
    throw new VfioError(ENODEV, 'open', {
      subject: found.name,
      reason: 'no-iommu-group',
      remedy: noGroup(machine()),
    })
  }
  if (!isVfioMember(found)) throw notOnVfio(found)
  return { ...found, iommuGroup: found.iommuGroup }
}

function notOnVfio({ name, driver, sysfsPath }: ResolvedDevice): VfioError {
  if (driver === null) {
    return new VfioError(ENODEV, 'open', {
      subject: name,
      reason: 'no-driver',
      remedy: `No driver has the device: bind it to vfio-pci (echo vfio-pci > ${sysfsPath}/driver_override; echo ${name} > /sys/bus/pci/drivers_probe).`,
    })
  }
  return new VfioError(EBUSY, 'open', {
    subject: name,
    reason: 'wrong-driver',
    remedy: `The driver ${driver} has the device: unbind it and bind the device to vfio-pci.`,
  })
}

/** Falls back to the group only where the other way is absent: what may not be used, or is in use, is an error. */
function choose({ vfioDev }: FoundDevice, { iommu, devRoot }: Checked): Omit<OpenChoice, 'node'> {
  if (iommu instanceof AddressSpace) {
    return { through: iommu.takesNodes ? 'cdev' : 'group', why: 'address-space' }
  }
  if (iommu !== 'auto') return { through: iommu === 'iommufd' ? 'cdev' : 'group', why: 'asked' }
  if (!existsSync(`${devRoot}/iommu`)) return { through: 'group', why: 'no-iommufd' }
  if (vfioDev?.cdev === undefined || vfioDev.cdev === null) return { through: 'group', why: 'no-cdev' }
  return { through: 'cdev', why: 'preferred' }
}

/** The node that would be opened, and what an errno of opening it means. */
export function nodeToOpen(
  device: FoundDevice,
  options: Checked,
): { node: string; explain: (error: Pick<VfioError, 'code'>) => VfioErrorContext } {
  const { cdev } = device.vfioDev ?? { cdev: null }
  if (choose(device, options).through === 'cdev' && cdev !== null)
    return { node: cdev, explain: (error) => nodeContext(cdev, error) }
  const node = groupNode(device.iommuGroup, options)
  return { node, explain: (error) => groupContext(node, error) }
}

/** Starts to open the device, up to where the kernel enables it. */
export function startOpening(device: FoundDevice, options: Checked): Route {
  const route = ofHost(device.name, () => {
    const { through, why } = choose(device, options)
    return through === 'cdev' ? openCdev(device, options, why) : openGroup(device, options, why)
  })
  debug('%s: opening %s (%s)', device.name, route.choice.node, route.choice.why)
  if (openings.hasSubscribers) openings.publish({ device: device.name, ...route.choice })
  return route
}
