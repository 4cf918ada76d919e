// The way through a device's IOMMU group and a container. What was opened on the way is closed again when it ends early.
import { existsSync } from 'node:fs'

import { EBUSY, VfioError, attempt, attemptAsync, explained } from '../../errors.js'
import { NO_IOMMU_GROUP, readIommuGroupName } from '../../host/groups.js'
import { AddressSpace } from '../../iommu/address-space.js'
import type { NativeHandle } from '../../native/index.js'
import { GroupNode } from '../kernel/nodes.js'
import type { FoundDevice } from './find.js'
import type { Checked, OpenChoice } from './options.js'
import {
  bareness,
  containerContext,
  deviceContext,
  groupContext,
  noContainerNode,
  otherSpace,
} from './refusals.js'
import type { Route } from './route.js'
import { join, remember } from './spaces.js'
import { notViable, offendersOf } from './viability.js'

/** Opens the group and puts it in the space that the options ask for. */
export function openGroup(device: FoundDevice, options: Checked, why: OpenChoice['why']): Route {
  const node = groupNode(device.iommuGroup, options)
  const group = attempt(
    (error) => groupContext(node, error),
    () => new GroupNode(node),
  )
  try {
    if (!group.isViable) throw notViable(device, offendersOf(device, options))
    const space = placeGroup(group, device.name, options)
    if (space.type === 'noiommu') warnOf(device.name)
    return new GroupRoute(group, space, device.name, options.vfToken, { through: 'group', node, why })
  } catch (error) {
    group.release()
    throw error
  }
}

function warnOf(name: string): void {
  process.emitWarning(`${name} is opened without an IOMMU: it can read and write all memory of the host`, {
    type: 'VfioNoIommuWarning',
    detail: 'The kernel is now tainted, and this program has as much power as the kernel.',
  })
}

class GroupRoute implements Route {
  readonly choice: OpenChoice
  readonly space: AddressSpace
  readonly groupFd: number
  readonly #group: GroupNode
  readonly #name: string
  readonly #vfToken: string | undefined

  constructor(
    group: GroupNode,
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
    this.groupFd = group.fd
  }

  get vfioFile(): number {
    return this.groupFd
  }

  // VFIO_GROUP_GET_DEVICE_FD.
  enable(): Promise<NativeHandle> {
    return attemptAsync(
      (error) => deviceContext(this.#name, this.#vfToken, error),
      () => this.#group.getDevice(this.#requestName),
    )
  }

  enableSync(): NativeHandle {
    return attempt(
      (error) => deviceContext(this.#name, this.#vfToken, error),
      () => this.#group.getDeviceSync(this.#requestName),
    )
  }

  get #requestName(): string {
    return this.#vfToken === undefined ? this.#name : `${this.#name} vf_token=${this.#vfToken}`
  }

  // The device holds its group, and lets it go after itself.
  done(): void {
    this.#group.release()
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
  throw noContainerNode(container, options)
}

function wantsBare(iommu: Checked['iommu']): boolean {
  return iommu instanceof AddressSpace ? iommu.type === 'noiommu' : iommu === 'noiommu'
}

function placeGroup(group: GroupNode, name: string, options: Checked): AddressSpace {
  const wanted = options.iommu
  const present = group.container()
  if (present !== null) return joinContainer(present, name, wanted)
  if (wanted instanceof AddressSpace) return placeIn(wanted, group, name, wanted)
  const space = AddressSpace.open({
    container: 'vfio',
    iommu: wanted,
    devRoot: options.devRoot,
  }).closeWithMembers()
  let placed: AddressSpace | undefined
  try {
    placed = placeIn(space, group, name, wanted)
    return placed
  } finally {
    if (placed !== space) space[Symbol.dispose]()
  }
}

/** Puts the group in a space, unless another thread has put it in one since it was looked at: then that one. */
function placeIn(
  space: AddressSpace,
  group: GroupNode,
  name: string,
  wanted: Checked['iommu'],
): AddressSpace {
  try {
    space.attachGroup(group.native)
  } catch (error) {
    const busy = error instanceof VfioError && error.errno === EBUSY
    const present = busy ? group.container() : null
    if (present !== null) return joinContainer(present, name, wanted)
    throw explained(error, (refusal) => containerContext(name, refusal))
  }
  remember(space)
  return space
}

function joinContainer(present: NativeHandle, name: string, wanted: Checked['iommu']): AddressSpace {
  return join(
    present,
    wanted,
    (native) => AddressSpace.over(native),
    () => otherSpace(name, 'VFIO_GROUP_SET_CONTAINER'),
  )
}
