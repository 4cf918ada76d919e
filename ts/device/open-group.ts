// The way through a device's IOMMU group and a container: what stands in the way is found out and named; what was opened on
// the way is closed again.
import { existsSync } from 'node:fs'

import {
  EACCES,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  EPERM,
  VfioError,
  type VfioErrorContext,
  attempt,
  attemptAsync,
  explained,
} from '../errors.js'
import { NO_IOMMU_GROUP, readIommuGroupName } from '../host/groups.js'
import { type GroupOffender, groupViability, readIommuGroup, type ResolvedDevice } from '../host/index.js'
import { readMachine } from '../host/machine.js'
import { noContainerNodeRemedy } from '../host/remedies.js'
import { AddressSpace } from '../iommu/address-space.js'
import { addon, type NativeHandle } from '../native/index.js'
import type { Checked, FoundDevice, OpenChoice } from './open.js'
import type { Route } from './route.js'

const STATUS_VIABLE = 1 // VFIO_GROUP_FLAGS_VIABLE

/** Spaces of this environment by their native identity, so that two devices in one group get one object. */
const spaces = new Map<number, WeakRef<AddressSpace>>()

/** Opens the group and puts it in the space that the options ask for. */
export function openGroup(device: FoundDevice, options: Checked, why: OpenChoice['why']): Route {
  const node = groupNode(device.iommuGroup, options)
  const group = attempt(
    (error) => groupContext(node, error),
    () => addon().groupOpen(node),
  )
  try {
    checkViable(group, device, options)
    const space = placeGroup(group, device, options)
    if (space.type === 'noiommu') warnOf(device.name)
    return new GroupRoute(group, space, device.name, options.vfToken, { through: 'group', node, why })
  } catch (error) {
    addon().handleRelease(group, false)
    throw error
  }
}

function warnOf(name: string): void {
  process.emitWarning(`${name} is opened without an IOMMU: it can read and write all memory of the host`, {
    type: 'VfioNoIommuWarning',
    detail: 'The kernel is tainted, and this program is trusted as the kernel is.',
  })
}

class GroupRoute implements Route {
  readonly choice: OpenChoice
  readonly space: AddressSpace
  readonly groupFd: number
  readonly #group: NativeHandle
  readonly #name: string
  readonly #vfToken: string | undefined

  constructor(
    group: NativeHandle,
    space: AddressSpace,
    name: string,
    vfToken: string | undefined,
    choice: OpenChoice,
  ) {
    this.#group = group
    this.space = space
    this.#name = name
    this.#vfToken = vfToken
    this.choice = choice
    this.groupFd = addon().handleFd(group)
  }

  get vfioFile(): number {
    return this.groupFd
  }

  // VFIO_GROUP_GET_DEVICE_FD.
  enable(): Promise<NativeHandle> {
    return attemptAsync(
      (error) => deviceContext(this.#name, this.#vfToken, error),
      () => addon().groupGetDeviceFd(this.#group, this.#requestName),
    )
  }

  enableSync(): NativeHandle {
    return attempt(
      (error) => deviceContext(this.#name, this.#vfToken, error),
      () => addon().groupGetDeviceFdSync(this.#group, this.#requestName),
    )
  }

  get #requestName(): string {
    return this.#vfToken === undefined ? this.#name : `${this.#name} vf_token=${this.#vfToken}`
  }

  // The device holds its group, and lets it go after itself.
  done(): void {
    addon().handleRelease(this.#group, false)
  }

  abandon(): void {
    this.done()
    if (this.space.unused) this.space[Symbol.dispose]()
  }
}

/**
 * The path of the group's node.
 * @throws VfioError `no-vfio-module`; `no-iommu` when it is asked for with an IOMMU that is not there, or the reverse
 */
export function groupNode(group: number, options: Checked): string {
  const { devRoot, iommu } = options
  const bare = readIommuGroupName(group, options) === NO_IOMMU_GROUP
  if (bare !== wantsBare(iommu)) throw bareness(group, bare)
  if (bare) return `${devRoot}/vfio/noiommu-${String(group)}`
  const container = `${devRoot}/vfio/vfio`
  // A space that is given is a container already, whoever answers behind it.
  if (iommu instanceof AddressSpace || existsSync(container)) return `${devRoot}/vfio/${String(group)}`
  throw new VfioError(ENOENT, 'open', {
    subject: container,
    reason: 'no-vfio-module',
    remedy: noContainerNodeRemedy(readMachine({ sysfsRoot: options.sysfsRoot, devRoot })),
  })
}

function wantsBare(iommu: Checked['iommu']): boolean {
  return iommu instanceof AddressSpace ? iommu.type === 'noiommu' : iommu === 'noiommu'
}

function bareness(group: number, bare: boolean): VfioError {
  return new VfioError(EPERM, 'open', {
    subject: `group ${String(group)}`,
    reason: 'no-iommu',
    remedy: bare
      ? "No IOMMU is behind the device: it can reach all memory of the host. iommu: 'noiommu' opens it all the same."
      : 'An IOMMU is behind the device, and VFIO gives it only with that: leave the option iommu out.',
  })
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

function checkViable(group: NativeHandle, device: FoundDevice, options: Checked): void {
  const status = addon().groupGetStatus(group)
  if ((status & STATUS_VIABLE) === 0) throw notViable(device, offendersOf(device, options))
}

/** Devices of the group that host drivers hold. */
export function offendersOf(device: FoundDevice, options: Checked): readonly GroupOffender[] {
  const group = readIommuGroup(device.iommuGroup, options)
  return group === null ? [] : groupViability(group).offenders
}

/** They in words, with the drivers' names. */
export function namesOf(offenders: readonly GroupOffender[]): string {
  return offenders.map(({ address, driver }) => `${address} (${driver})`).join(', ')
}

/** The error that names who keeps a group from user space. */
export function notViable(device: FoundDevice, offenders: readonly GroupOffender[]): VfioError {
  const names = namesOf(offenders)
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
  if (wanted instanceof AddressSpace) return placeIn(wanted, group, device, wanted)
  const space = AddressSpace.open({
    container: 'vfio',
    iommu: wanted,
    devRoot: options.devRoot,
  }).closeWithMembers()
  let placed: AddressSpace | undefined
  try {
    placed = placeIn(space, group, device, wanted)
    return placed
  } finally {
    if (placed !== space) space[Symbol.dispose]()
  }
}

/** Puts the group in a space, unless another thread has put it in one since it was looked at: then that one. */
function placeIn(
  space: AddressSpace,
  group: NativeHandle,
  device: ResolvedDevice,
  wanted: Checked['iommu'],
): AddressSpace {
  try {
    space.attachGroup(group)
  } catch (error) {
    const busy = error instanceof VfioError && error.errno === EBUSY
    const present = busy ? addon().groupContainer(group) : null
    if (present !== null) return placePresent(present, device, wanted)
    throw explained(error, (refusal) => spaceContext(device, refusal))
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
