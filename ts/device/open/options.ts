// What may be asked for when a device is opened, checked, and what is said of the way that was taken.
import { AddressSpace } from '../../iommu/address-space.js'
import type { IommuType } from '../../iommu/backend.js'
import { boolean, instance, object, oneOf, options as optionsOf, string } from '../../validate.js'

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
