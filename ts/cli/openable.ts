// Whether a device can be opened: what of VfioDevice.open can be looked at beforehand, in words, and its node opened and closed
// again. That resets nothing: the kernel touches the device only when it is asked for by its group, or bound to an iommufd.
import { closeSync, constants, openSync } from 'node:fs'
import { join } from 'node:path'
import { checkFound, type FoundDevice } from '../device/open/find.js'
import { checkOptions } from '../device/open/options.js'
import { groupContext } from '../device/open/refusals.js'
import { nodeToOpen } from '../device/open/start.js'
import { namesOf, notViable } from '../device/open/viability.js'
import { VfioError } from '../errors.js'
import { readDriver } from '../host/device.js'
import { keptByFirmware } from '../host/groups.js'
import {
  groupViability,
  type HostOptions,
  type IommuGroup,
  type Machine,
  readIommuGroup,
  readPciDevice,
  type ResolvedDevice,
} from '../host/index.js'
import { lazyMachine } from '../host/machine.js'
import { isPciBridge } from '../host/pci.js'
import { devRoot, linkName, procRoot, readText, sysfsRoot } from '../host/sysfs.js'
import { isAtLeast } from '../merged/knowledge/versions.js'
import { hex } from './format.js'
import { inWordsOfTheCommand } from './words.js'

export interface Openable {
  /** Nothing is in the way of what was looked at; `tried` says how well. */
  readonly possible: boolean
  /** Whether its node was opened, and closed again, to find out. */
  readonly tried: boolean
  /** Why not, or why it was not tried, in a few words; null when VFIO is ready. */
  readonly why: string | null
  readonly remedy: string | null
  /** The reason as one word for programs, such as `wrong-driver` or `no-iommu-group`. */
  readonly reason: string | null
}

/** Nothing is in the way. */
export const POSSIBLE: Openable = { possible: true, tried: true, why: null, remedy: null, reason: null }
const not = (reason: string, why: string, remedy: string): Openable => ({
  possible: false,
  tried: false,
  why,
  reason,
  remedy,
})

/** Opens a node as whoever uses the device would, and closes it. */
function tryNode(node: string, explain: ReturnType<typeof nodeToOpen>['explain']): VfioError | null {
  try {
    closeSync(openSync(node, constants.O_RDWR))
    return null
  } catch (error) {
    const { code = 'EACCES', errno = 0 } = error as NodeJS.ErrnoException
    return new VfioError(Math.abs(errno), 'open', explain({ code }))
  }
}

/**
 * The node that opening would take. A device's own node opens for everybody: that a device of the group is in use shows at the
 * node of the group, where this user may open that one.
 */
function tryNodes({ node, explain }: ReturnType<typeof nodeToOpen>, groupNode: string): VfioError | null {
  const own = tryNode(node, explain)
  if (own !== null || node === groupNode) return own
  const group = tryNode(groupNode, (error) => groupContext(groupNode, error))
  return group?.code === 'EBUSY' ? group : null
}

function whyNot(error: VfioError, device: Pick<ResolvedDevice, 'driver' | 'iommuGroup'>): string {
  switch (error.reason) {
    case 'no-iommu-group':
      return 'no IOMMU group'
    case 'no-iommu':
      return 'no IOMMU behind it'
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
    case 'group-busy':
      return `group ${device.iommuGroup ?? ''} is in use`
    case 'permission':
      return 'no permission'
    default:
      return error.code
  }
}

/** What an error says against opening. */
export function refused(error: VfioError, why: string, tried = true): Openable {
  const remedy = error.remedy === undefined ? null : inWordsOfTheCommand(error.remedy)
  return { possible: false, tried, why, remedy, reason: error.reason ?? error.code }
}

/** The kernel attaches no group for which the firmware keeps memory. */
function ofFirmware(group: IommuGroup): Openable | null {
  const region = keptByFirmware(group)
  if (region === null) return null
  const where = `${hex(region.start)}-${hex(region.end)}`
  return not(
    'firmware-memory',
    'the firmware reserves memory for it (RMRR)',
    `The firmware maps ${where} one to one for a device of group ${group.id}, so the kernel does not give the group to user space. Turn off the firmware feature that uses the memory if you can (some servers allow it per slot), or ask the vendor of the machine.`,
  )
}

/** The kernel opens a virtual function of a physical one on VFIO only with the token of that. */
function ofToken(device: FoundDevice, node: string, host: HostOptions): Openable | null {
  const pf = linkName(device.sysfsPath, 'physfn')
  const driver = pf === null ? null : readDriver(join(sysfsRoot(host), 'bus', 'pci', 'devices', pf))
  if (pf === null || driver?.includes('vfio') !== true) return null
  const why = 'needs its VF token'
  const remedy = `The physical function ${pf} is on ${driver}: the program that has it open sets a token, and you must pass it to open the device (vfToken in the API, vf-token in QEMU); this command cannot pass one.`
  // By its own node it took no token at first: Linux 6.6 to 6.16, unless the correction was taken into them.
  const release = readText(procRoot(host), 'sys', 'kernel', 'osrelease')
  const mayDoWithout =
    node === device.vfioDev?.cdev && release !== null && isAtLeast(release, '6.17') === false
  return mayDoWithout
    ? { ...not('vf-token', 'may need its VF token', remedy), possible: true }
    : not('vf-token', why, remedy)
}

/** What has been read already, and need not be read again. */
export interface KnownFacts {
  readonly classCode?: number
  readonly group?: IommuGroup | undefined
  readonly machine?: () => Machine
}

/** @param device as `resolveDevice` found it */
export function openable(device: ResolvedDevice, host: HostOptions, known: KnownFacts = {}): Openable {
  if (device.kind === 'pci') {
    const code = known.classCode ?? readPciDevice(device.name, host)?.class ?? 0
    if (isPciBridge(device.sysfsPath, code))
      return not(
        'bridge',
        'it is a bridge',
        'VFIO gives user space the devices behind a bridge, not the bridge itself.',
      )
  }
  const options = checkOptions(host)
  try {
    const found = checkFound(device, known.machine ?? lazyMachine(host))
    const group = known.group ?? readIommuGroup(found.iommuGroup, host)
    const offenders = group === null ? [] : groupViability(group).offenders
    if (offenders.length > 0)
      return refused(notViable(found, offenders), `group held by ${namesOf(offenders)}`, false)
    const kept = group === null ? null : ofFirmware(group)
    if (kept !== null) return kept
    const target = nodeToOpen(found, options)
    const error = tryNodes(target, join(devRoot(host), 'vfio', String(found.iommuGroup)))
    if (error !== null) return refused(error, whyNot(error, device))
    return ofToken(found, target.node, host) ?? POSSIBLE
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
    return refused(error, whyNot(error, device), false)
  }
}
