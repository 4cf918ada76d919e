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
import { releaseNative } from '../../handle.js'
import { AddressSpace } from '../../iommu/address-space.js'
import type { NativeHandle } from '../../native/index.js'
import { DeviceNode, ioasOfGroup } from '../kernel/nodes.js'
import type { FoundDevice } from './find.js'
import type { Checked, OpenChoice } from './options.js'
import { attachContext, bindContext, noNode, nodeContext, otherSpace } from './refusals.js'
import type { Route } from './route.js'
import { isSame, join, remember, spaceOver } from './spaces.js'

const ATTACH = 'VFIO_DEVICE_ATTACH_IOMMUFD_PT'

const overIoas = (native: NativeHandle): AddressSpace => AddressSpace.overIoas(native)

/** Opens the node and chooses the space. Nothing can be asked of the device before it is bound. */
export function openCdev(device: FoundDevice, options: Checked, why: OpenChoice['why']): Route {
  const path = device.vfioDev?.cdev ?? null
  if (path === null) throw noNode(device.name)
  const node = attempt(
    (error) => nodeContext(path, error),
    () => new DeviceNode(path),
  )
  try {
    const space = spaceFor(device, options)
    return new CdevRoute(node, space, device, options, { through: 'cdev', node: path, why })
  } catch (error) {
    node.release()
    throw error
  }
}

class CdevRoute implements Route {
  readonly choice: OpenChoice
  space: AddressSpace
  readonly groupFd = null
  readonly #node: DeviceNode
  readonly #device: FoundDevice
  readonly #options: Checked

  constructor(
    node: DeviceNode,
    space: AddressSpace,
    device: FoundDevice,
    options: Checked,
    choice: OpenChoice,
  ) {
    this.#node = node
    this.space = space
    this.#device = device
    this.#options = options
    this.choice = choice
  }

  get vfioFile(): number {
    return this.#node.fd
  }

  async enable(): Promise<NativeHandle> {
    await attemptAsync(this.#explainBind, () => this.#node.bind(this.#iommufd, this.#token))
    this.#node.noteGroup(this.#device.iommuGroup)
    for (;;) {
      try {
        await this.#node.attach(this.space.native)
        return this.#node.native
      } catch (error) {
        this.#follow(error)
      }
    }
  }

  enableSync(): NativeHandle {
    attempt(this.#explainBind, () => {
      this.#node.bindSync(this.#iommufd, this.#token)
    })
    this.#node.noteGroup(this.#device.iommuGroup)
    for (;;) {
      try {
        this.#node.attachSync(this.space.native)
        return this.#node.native
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
    const present = refused ? ioasOfGroup(this.#device.iommuGroup) : null
    if (present === null) throw explained(error, this.#explainAttach)
    if (isSame(present, this.space.native)) {
      releaseNative(present)
      throw explained(error, this.#explainAttach)
    }
    if (this.#options.iommu instanceof AddressSpace) {
      releaseNative(present)
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
    this.#node.release()
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
  const present = ioasOfGroup(device.iommuGroup)
  if (present !== null) return join(present, iommu, overIoas, () => otherSpace(device.name, ATTACH))
  const space =
    iommu instanceof AddressSpace
      ? iommu
      : AddressSpace.open({ iommu: 'iommufd', devRoot }).closeWithMembers()
  remember(space)
  return space
}
