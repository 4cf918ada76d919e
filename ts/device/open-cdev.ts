// The way through a device's own node and an iommufd: opened, bound and attached to an address space. What stands in the way
// is found out and named; what was opened on the way is closed again.
import {
  EACCES,
  EBUSY,
  EINVAL,
  ENOENT,
  EPERM,
  VfioError,
  type VfioErrorContext,
  attempt,
  attemptAsync,
  explained,
} from '../errors.js'
import { readMachine } from '../host/machine.js'
import { unsafeInterrupts } from '../host/remedies.js'
import { AddressSpace } from '../iommu/address-space.js'
import { attachTo, attachToSync } from '../iommu/iommufd/attach.js'
import { addon, type NativeHandle } from '../native/index.js'
import type { Checked, FoundDevice, OpenChoice } from './open.js'
import { notViable, offendersOf } from './open-group.js'
import type { Route } from './route.js'

/** Spaces of this environment by their native identity, so that two devices in one group get one object. */
const spaces = new Map<number, WeakRef<AddressSpace>>()

/** Opens the node and chooses the space. Nothing can be asked of the device before it is bound. */
export function openCdev(device: FoundDevice, options: Checked, why: OpenChoice['why']): Route {
  const node = nodeOf(device)
  const native = attempt(
    (error) => nodeContext(node, error),
    () => addon().cdevOpen(node),
  )
  try {
    const space = spaceFor(device, options)
    return new CdevRoute(native, space, device, options, { through: 'cdev', node, why })
  } catch (error) {
    addon().handleRelease(native, false)
    throw error
  }
}

class CdevRoute implements Route {
  readonly choice: OpenChoice
  space: AddressSpace
  readonly groupFd = null
  readonly #native: NativeHandle
  readonly #device: FoundDevice
  readonly #options: Checked

  constructor(
    native: NativeHandle,
    space: AddressSpace,
    device: FoundDevice,
    options: Checked,
    choice: OpenChoice,
  ) {
    this.#native = native
    this.space = space
    this.#device = device
    this.#options = options
    this.choice = choice
  }

  get vfioFile(): number {
    return addon().handleFd(this.#native)
  }

  async enable(): Promise<NativeHandle> {
    await attemptAsync(this.#explainBind, () => addon().deviceBind(this.#native, this.#iommufd, this.#token))
    addon().deviceInGroup(this.#native, this.#device.iommuGroup)
    for (;;) {
      try {
        await attachTo(this.space.native, this.#native, null)
        return this.#native
      } catch (error) {
        this.#follow(error)
      }
    }
  }

  enableSync(): NativeHandle {
    attempt(this.#explainBind, () => {
      addon().deviceBindSync(this.#native, this.#iommufd, this.#token)
    })
    addon().deviceInGroup(this.#native, this.#device.iommuGroup)
    for (;;) {
      try {
        attachToSync(this.space.native, this.#native, null)
        return this.#native
      } catch (error) {
        this.#follow(error)
      }
    }
  }

  /**
   * Goes to where another thread, or another open() of this one, has attached a device of the group since the space was
   * chosen. Throws the refusal where that is not the reason.
   */
  #follow(error: unknown): void {
    const refused = error instanceof VfioError && (error.errno === EINVAL || error.errno === EBUSY)
    const present = refused ? addon().ioasOfGroup(this.#device.iommuGroup) : null
    if (present === null) throw explained(error, this.#explainAttach)
    if (addon().handleShare(present) === addon().handleShare(this.space.native)) {
      addon().handleRelease(present, false)
      throw explained(error, this.#explainAttach)
    }
    if (this.#options.iommu instanceof AddressSpace) {
      addon().handleRelease(present, false)
      throw otherSpace(this.#device.name)
    }
    const before = this.space
    this.space = spaceOver(present)
    if (before.unused) before[Symbol.dispose]()
  }

  done(): void {
    // The device is the node itself.
  }

  abandon(): void {
    addon().handleRelease(this.#native, false)
    if (this.space.unused) this.space[Symbol.dispose]()
  }

  get #iommufd(): NativeHandle {
    const { iommufd } = this.space
    if (iommufd === null) throw new TypeError('iommu must be a space of iommufd here')
    return iommufd.native
  }

  get #token(): Uint8Array | null {
    const { vfToken } = this.#options
    return vfToken === undefined ? null : tokenBytes(vfToken)
  }

  readonly #explainBind = (error: VfioError): VfioErrorContext =>
    bindContext(this.#device, this.#options, error)

  readonly #explainAttach = (error: VfioError): VfioErrorContext => attachContext(this.#device, error)
}

/** The 16 bytes of a UUID, in the order in which they are written. */
export function tokenBytes(uuid: string): Uint8Array {
  return Uint8Array.from(Buffer.from(uuid.replaceAll('-', ''), 'hex'))
}

function nodeOf({ name, vfioDev }: FoundDevice): string {
  const node = vfioDev?.cdev ?? null
  if (node !== null) return node
  throw new VfioError(ENOENT, 'open', {
    subject: name,
    reason: 'no-cdev',
    remedy:
      "The device has no node of its own (Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV, and an IOMMU): open it by its group, iommu: 'type1v2'.",
  })
}

/** What the errno of opening a device's node means. */
export function nodeContext(node: string, { code }: Pick<VfioError, 'code'>): VfioErrorContext {
  if (code === 'EACCES' || code === 'EPERM') {
    return {
      subject: node,
      reason: 'permission',
      remedy: `Run as root, or give yourself the device: chown $USER ${node}.`,
    }
  }
  if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV') {
    return {
      subject: node,
      reason: 'no-cdev',
      remedy: 'The device has left its vfio driver, or udev made no node.',
    }
  }
  return { subject: node }
}

/** The space given, that of the device's group, or a new one. */
function spaceFor(device: FoundDevice, { iommu, devRoot }: Checked): AddressSpace {
  const present = addon().ioasOfGroup(device.iommuGroup)
  if (iommu instanceof AddressSpace) {
    const other = present !== null && addon().handleShare(present) !== addon().handleShare(iommu.native)
    if (present !== null) addon().handleRelease(present, false)
    if (other) throw otherSpace(device.name)
    remember(iommu)
    return iommu
  }
  if (present !== null) return spaceOver(present)
  const space = AddressSpace.open({ iommu: 'iommufd', devRoot }).closeWithMembers()
  remember(space)
  return space
}

/** This environment's object for a space that devices are in already. */
function spaceOver(present: NativeHandle): AddressSpace {
  const known = spaces.get(addon().handleShare(present))?.deref()
  if (known !== undefined && !known.closed) {
    addon().handleRelease(present, false)
    return known
  }
  const space = AddressSpace.overIoas(present).closeWithMembers()
  remember(space)
  return space
}

function remember(space: AddressSpace): void {
  for (const [id, ref] of spaces) if (ref.deref() === undefined) spaces.delete(id)
  spaces.set(addon().handleShare(space.native), new WeakRef(space))
}

function otherSpace(name: string): VfioError {
  return new VfioError(EBUSY, 'VFIO_DEVICE_ATTACH_IOMMUFD_PT', {
    subject: name,
    reason: 'other-address-space',
    remedy:
      'Another device of its group is open in a different AddressSpace: give that one, or close the device.',
  })
}

function bindContext(device: FoundDevice, options: Checked, { errno }: VfioError): VfioErrorContext {
  const subject = device.name
  const { vfToken } = options
  if (errno === EACCES) {
    return {
      subject,
      reason: 'permission',
      remedy:
        vfToken === undefined
          ? 'The physical function is on vfio: the virtual function needs its token (option vfToken).'
          : 'The physical function does not know this vfToken.',
    }
  }
  // The kernel looks at the group's interrupts before it looks for owners: these come first here.
  const offenders = errno === EBUSY || errno === EPERM ? offendersOf(device, options) : []
  if (offenders.length > 0) {
    const { remedy = '' } = notViable(device, offenders)
    return { subject, reason: 'group-not-viable', remedy }
  }
  if (errno === EPERM) {
    return {
      subject,
      reason: 'unsafe-interrupts',
      remedy: unsafeInterrupts(
        readMachine({ sysfsRoot: options.sysfsRoot, devRoot: options.devRoot }),
        'iommufd',
      ),
    }
  }
  if (errno === EBUSY) {
    return {
      subject,
      reason: 'group-busy',
      remedy: `A device of its IOMMU group is open through the group, or in another iommufd: find it with \`fuser -v ${options.devRoot}/vfio/${String(device.iommuGroup)}\`.`,
    }
  }
  if (errno === EINVAL) {
    return {
      subject,
      reason: 'device-busy',
      remedy:
        vfToken === undefined
          ? `The device is open already, and its node opens once: find who has it with \`fuser -v ${nodeOf(device)}\`.`
          : 'The device is open already, or the kernel takes no token here (before Linux 6.18, or no virtual function).',
    }
  }
  return { subject }
}

function attachContext({ name }: FoundDevice, { errno }: VfioError): VfioErrorContext {
  if (errno === EINVAL || errno === EBUSY) {
    return {
      subject: name,
      remedy:
        'The IOMMUs of the devices in one AddressSpace must be compatible, and no mapping may lie where the device keeps addresses for itself: open it in a space of its own.',
    }
  }
  return { subject: name }
}
