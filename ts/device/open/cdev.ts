// The way through a device's own node and an iommufd: opened, bound and attached to an address space. What was opened on the way
// is closed again when it ends early.
import {
  EBUSY,
  EINVAL,
  VfioError,
  type VfioErrorContext,
  attempt,
  attemptAsync,
  explained,
} from '../../errors.js'
import { AddressSpace } from '../../iommu/address-space.js'
import { attachTo, attachToSync } from '../../iommu/iommufd/attach.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { FoundDevice } from './find.js'
import type { Checked, OpenChoice } from './options.js'
import { attachContext, bindContext, noNode, nodeContext, otherSpace } from './refusals.js'
import type { Route } from './route.js'
import { isSame, join, remember, spaceOver } from './spaces.js'

const ATTACH = 'VFIO_DEVICE_ATTACH_IOMMUFD_PT'

const overIoas = (native: NativeHandle): AddressSpace => AddressSpace.overIoas(native)

/** Opens the node and chooses the space. Nothing can be asked of the device before it is bound. */
export function openCdev(device: FoundDevice, options: Checked, why: OpenChoice['why']): Route {
  const node = device.vfioDev?.cdev ?? null
  if (node === null) throw noNode(device.name)
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
    if (isSame(present, this.space.native)) {
      addon().handleRelease(present, false)
      throw explained(error, this.#explainAttach)
    }
    if (this.#options.iommu instanceof AddressSpace) {
      addon().handleRelease(present, false)
      throw otherSpace(this.#device.name, ATTACH)
    }
    const before = this.space
    this.space = spaceOver(present, overIoas)
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
    bindContext(this.#device, this.choice.node, this.#options, error)

  readonly #explainAttach = (error: VfioError): VfioErrorContext => attachContext(this.#device, error)
}

/** The 16 bytes of a UUID, in the order in which they are written. */
function tokenBytes(uuid: string): Uint8Array {
  return Uint8Array.from(Buffer.from(uuid.replaceAll('-', ''), 'hex'))
}

/** The space given, that of the device's group, or a new one. */
function spaceFor(device: FoundDevice, { iommu, devRoot }: Checked): AddressSpace {
  const present = addon().ioasOfGroup(device.iommuGroup)
  if (present !== null) return join(present, iommu, overIoas, () => otherSpace(device.name, ATTACH))
  const space =
    iommu instanceof AddressSpace
      ? iommu
      : AddressSpace.open({ iommu: 'iommufd', devRoot }).closeWithMembers()
  remember(space)
  return space
}
