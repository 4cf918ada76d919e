// Whether a device can be opened, as far as can be told without opening it: the checks of VfioDevice.open, in words.
import { accessSync, constants } from 'node:fs'
import { checkFound, checkOptions, nodeToOpen } from '../device/open.js'
import { namesOf, notViable } from '../device/open-group.js'
import { VfioError } from '../errors.js'
import {
  groupViability,
  type HostOptions,
  type IommuGroup,
  readIommuGroup,
  readPciDevice,
  type ResolvedDevice,
} from '../host/index.js'

export interface Openable {
  readonly possible: boolean
  /** Why not, in a few words; null when nothing is in the way. Another process may still have the group open. */
  readonly why: string | null
  readonly remedy: string | null
  /** The reason as one word for programs, such as `wrong-driver` or `no-iommu-group`. */
  readonly reason: string | null
}

const POSSIBLE: Openable = { possible: true, why: null, remedy: null, reason: null }
const BRIDGE: Openable = {
  possible: false,
  why: 'it is a bridge',
  reason: 'bridge',
  remedy: 'VFIO gives out the devices behind a bridge, not the bridge.',
}
const CLASS_BRIDGE = 0x06

function checkNode({ node, explain }: ReturnType<typeof nodeToOpen>): void {
  try {
    accessSync(node, constants.R_OK | constants.W_OK)
  } catch (error) {
    const { code = 'EACCES', errno = 0 } = error as NodeJS.ErrnoException
    throw new VfioError(Math.abs(errno), 'open', explain({ code }))
  }
}

function whyNot(error: VfioError, device: Pick<ResolvedDevice, 'driver' | 'iommuGroup'>): string {
  switch (error.reason) {
    case 'no-iommu-group':
      return 'no IOMMU group'
    case 'no-driver':
      return 'no driver'
    case 'wrong-driver':
      return `driver ${device.driver ?? ''}`
    case 'no-vfio-module':
      return 'VFIO is not loaded'
    case 'no-cdev':
      return 'no node of its own'
    case 'no-group-node':
      return `no node for group ${device.iommuGroup ?? ''}`
    case 'permission':
      return 'no permission'
    default:
      return error.code
  }
}

/** What an error says against opening. */
export function refused(error: VfioError, why: string): Openable {
  return { possible: false, why, remedy: error.remedy ?? null, reason: error.reason ?? error.code }
}

/** What has been read already, and need not be read again. */
export interface KnownFacts {
  readonly classCode?: number
  readonly group?: IommuGroup | undefined
}

/** @param device as `resolveDevice` found it */
export function openable(device: ResolvedDevice, host: HostOptions, known: KnownFacts = {}): Openable {
  if (device.kind === 'pci') {
    const code = known.classCode ?? readPciDevice(device.name, host)?.class ?? 0
    if (code >>> 16 === CLASS_BRIDGE) return BRIDGE
  }
  const options = checkOptions(host)
  try {
    const found = checkFound(device)
    const group = known.group ?? readIommuGroup(found.iommuGroup, host)
    const offenders = group === null ? [] : groupViability(group).offenders
    if (offenders.length > 0)
      return refused(notViable(found, offenders), `group held by ${namesOf(offenders)}`)
    checkNode(nodeToOpen(found, options))
    return POSSIBLE
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
    return refused(error, whyNot(error, device))
  }
}
