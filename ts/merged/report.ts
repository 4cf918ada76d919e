// The merged-driver report: which devices the host can share with guests while it uses them, by which framework, how
// much of it is left, and what is known to be wrong. It reads, and never writes or opens a device.

import { basename } from 'node:path'
import { readDriver } from '../host/device.js'
import { isVfioMember } from '../host/groups.js'
import type { MdevType } from '../host/mdev.js'
import { Attempts } from '../host/attempts.js'
import { type HostReport, probeHost, type ProbedPciDevice } from '../host/probe.js'
import { type VfMaking, vfMaking } from '../host/vf-making.js'
import { array, object } from '../validate.js'
import { checkHostOptions, type HostOptions, listNames, readText, sysfsRoot } from '../host/sysfs.js'
import {
  type HostNodes,
  listDrmDevices,
  listMdevParents,
  NO_NODES,
  readDriverModule,
  readHostNodes,
  readMdevTypes,
  readSharedFunction,
  type SharedFunction,
} from './facts.js'
import type { FrameworkRules, SharingFacts } from './frameworks/framework.js'
import { frameworkOf } from './frameworks/index.js'
import { HostEvidence, platformsOf } from './knowledge/host-evidence.js'
import { judgeIssues } from './knowledge/issues.js'
import { knowledge } from './knowledge/load.js'
import { parametersOf } from './parameters.js'
import { frameworkAnswers } from './possibilities.js'
import type { MergedReport, MergedState, SharedDevice, UserSpaceFinding } from './types.js'
import { userSpaceWays } from './user-space/index.js'
import { type Installed, readInstalled } from './user-space/installed.js'
import { OTHERS, vendorOf } from './vendors/index.js'
import type { Vendor, VendorFacts } from './vendors/vendor.js'

const BASE_CLASS_DISPLAY = 0x03
const BASE_CLASS_ACCELERATOR = 0x12

/** What is read once and holds for every device. */
interface Scene {
  readonly options: HostOptions
  readonly attempts: Attempts
  readonly host: HostReport
  readonly devices: ReadonlyMap<string, ProbedPciDevice>
  readonly types: ReadonlyMap<string, readonly MdevType[]>
  /** What gives guests a GPU in user space; read only for hosts that have one. */
  readonly installed: () => Installed
  readonly evidence: HostEvidence
}

function isGpu({ class: code }: Pick<ProbedPciDevice, 'class'>): boolean {
  const base = code >>> 16
  return base === BASE_CLASS_DISPLAY || base === BASE_CLASS_ACCELERATOR
}

function readVersion(driver: string, vendor: Vendor, { attempts, options }: Scene): string | null {
  const read = (): string | null => {
    const own = readText(sysfsRoot(options), 'module', driver.replaceAll('-', '_'), 'version')
    return own !== null && own !== '' ? own : (vendor.driverVersion?.(driver, options) ?? null)
  }
  return attempts.run(`version of ${driver}`, read, null)
}

/** What decides between merged, possible and no. */
interface Standing {
  readonly driver: string | null
  /** Whether the driver takes the place of the one by which the host would use the device. */
  readonly replaced: boolean
  readonly needsNode: boolean
  readonly hasNode: boolean
}

function mergedState(
  { driver, replaced, needsNode, hasNode }: Standing,
  rules: FrameworkRules,
  facts: SharingFacts,
): MergedState {
  const no = (why: string): MergedState => ({ state: 'no', why })
  if (driver === null) return no('no driver has it')
  if (driver.includes('vfio')) return no(`${driver} has it, so that the host does not use it`)
  if (replaced) return no(`${driver} stands in the place of the driver by which the host would use it`)
  if (!rules.offers(facts)) return no('nothing of it can be given to guests')
  if (needsNode && !hasNode) return no(`${driver} has it, but gives the host no DRM or accel node`)
  return rules.state(driver, facts)
}

/** What is possible in user space; nothing for a device of which the host has no DRM node. */
function userSpace(driver: string | null, hostNodes: HostNodes, scene: Scene): UserSpaceFinding[] {
  if (hostNodes.cards.length + hostNodes.renders.length === 0) return []
  const { kernelRelease } = scene.host
  return userSpaceWays({ driver, hostNodes, kernelRelease, installed: scene.installed() })
}

/** Why the device has virtual functions that its driver does not make, and what does. */
function cannotMake(making: VfMaking | null): string[] {
  if (making?.answer !== 'no') return []
  return [making.remedy === null ? making.why : `${making.why}. ${making.remedy}`]
}

/** The kinds of nodes by which the host uses a device. */
function nodeKinds({ cards, renders, accels }: HostNodes): ('card' | 'render' | 'accel')[] {
  return [
    ...(cards.length > 0 ? (['card'] as const) : []),
    ...(renders.length > 0 ? (['render'] as const) : []),
    ...(accels.length > 0 ? (['accel'] as const) : []),
  ]
}

function platformName(id: Pick<ProbedPciDevice, 'vendor' | 'device'>): string | null {
  const [found] = platformsOf(id)
  return knowledge().platforms.find((each) => each.id === found)?.name ?? null
}

function functionsOf(device: ProbedPciDevice, { devices, attempts }: Scene): SharedFunction[] {
  return device.virtfns.flatMap((address, index) => {
    const vf = devices.get(address)
    if (vf === undefined) return []
    const onVfio = isVfioMember({ bus: 'pci', driver: vf.driver, vfioDev: vf.vfioDev })
    const place = { path: vf.sysfsPath, pf: device.sysfsPath, number: index + 1 }
    return [readSharedFunction(place, onVfio, attempts)]
  })
}

function describePci(device: ProbedPciDevice, scene: Scene): SharedDevice | null {
  const { attempts, host, options, types: allTypes } = scene
  const { address, sysfsPath, driver, sriov } = device
  const vendor = vendorOf(device.vendor)
  const functions = functionsOf(device, scene)
  // NVIDIA's mdev types of Ampere and later are those of the virtual functions.
  const mdevTypes = [address, ...device.virtfns].flatMap((name) => allTypes.get(name) ?? [])
  const making = attempts.run(address, () => vfMaking(device, options), null)
  const activeVfs = sriov?.numVfs ?? 0
  const maySet = making !== null && making.answer !== 'no'
  const totalVfs = sriov === null || (!maySet && activeVfs === 0) ? 0 : sriov.totalVfs
  const sharing: SharingFacts = {
    mdevTypes,
    functions,
    usableVfs: vendor.ownFunctions?.(driver) === true ? 0 : totalVfs,
    activeVfs,
    maySet,
    tool: activeVfs === 0 ? (making?.tool ?? null) : null,
  }
  const { rules, why } = frameworkOf(sharing)
  const framework = rules.name
  if (!isGpu(device) && framework === 'none' && (sriov?.totalVfs ?? 0) === 0) return null
  const hostNodes = attempts.run(address, () => readHostNodes(sysfsPath), NO_NODES)
  const driverVersion = driver === null ? null : readVersion(driver, vendor, scene)
  const facts: VendorFacts = {
    driver,
    framework,
    totalVfs,
    activeVfs,
    functions,
    making,
    has: (name) => attempts.run(address, () => listNames(sysfsPath)?.includes(name) === true, false),
  }
  const { vendor: vendorId, device: deviceId, class: code, revision, names, powerState } = device
  const evidence = scene.evidence.of({
    sysfsPath,
    driver,
    driverVersion,
    framework,
    functionDrivers: functions.map((each) => each.driver),
    hostNodes: nodeKinds(hostNodes),
    pci: device,
  })
  const merged = mergedState(
    {
      driver,
      replaced: driver !== null && vendor.replacesHostDriver?.(driver) === true,
      needsNode: isGpu(device),
      hasNode: nodeKinds(hostNodes).length > 0,
    },
    rules,
    sharing,
  )
  const hooks = vendor.hooks?.(facts) ?? rules.hooks(sharing)
  return {
    name: address,
    bus: 'pci',
    sysfsPath,
    pci: { vendor: vendorId, device: deviceId, class: code, revision, names, powerState },
    driver,
    driverVersion,
    hostNodes,
    platform: platformName(device),
    framework,
    frameworkWhy: why,
    merged,
    vfs:
      totalVfs === 0
        ? null
        : { total: totalVfs, active: activeVfs, free: maySet ? Math.max(0, totalVfs - activeVfs) : 0 },
    vfMaking: making,
    functions,
    mdevTypes,
    frameworks: frameworkAnswers({ vendor: vendorId, framework, sharing, hooks, evidence }),
    parameters: parametersOf({ vendor: vendorId, driver }, host.commandLine, attempts, options),
    hooks,
    userSpace: userSpace(driver, hostNodes, scene),
    blockers: [
      ...(driver === null ? ['no driver has the device'] : []),
      ...vendor.blockers(facts),
      ...(driver === null || (sriov?.totalVfs ?? 0) === 0 || activeVfs > 0 ? [] : cannotMake(making)),
    ],
    notes: vendor.notes(facts),
    knownIssues: judgeIssues(
      knowledge().issues.filter((issue) => issue.vendor === vendorId || issue.vendor === null),
      evidence,
    ),
  }
}

/** Of a device that has no virtual functions and no mdev types. */
const NOTHING_SHARED: SharingFacts = {
  mdevTypes: [],
  functions: [],
  usableVfs: 0,
  activeVfs: 0,
  maySet: false,
  tool: null,
}

/** A GPU that is not on PCI, or such a parent of mediated devices, as the sample drivers' are. */
function describeOther(path: string, mdevTypes: readonly MdevType[], scene: Scene): SharedDevice {
  const { attempts } = scene
  const name = basename(path)
  const bound = attempts.run(name, () => readDriver(path), null)
  const driver = bound ?? attempts.run(name, () => readDriverModule(path), null)
  const sharing: SharingFacts = { ...NOTHING_SHARED, mdevTypes }
  const { rules, why } = frameworkOf(sharing)
  const framework = rules.name
  const hooks = rules.hooks(sharing)
  const driverVersion = driver === null ? null : readVersion(driver, OTHERS, scene)
  const hostNodes = attempts.run(name, () => readHostNodes(path), NO_NODES)
  const evidence = scene.evidence.of({
    sysfsPath: path,
    driver,
    driverVersion,
    framework,
    functionDrivers: [],
    hostNodes: nodeKinds(hostNodes),
    pci: null,
  })
  return {
    name,
    bus: 'other',
    sysfsPath: path,
    pci: null,
    driver,
    driverVersion,
    hostNodes,
    platform: null,
    framework,
    frameworkWhy: why,
    merged: rules.state(null, sharing),
    vfs: null,
    vfMaking: null,
    functions: [],
    mdevTypes,
    frameworks: frameworkAnswers({ vendor: null, framework, sharing, hooks, evidence }),
    parameters: [],
    hooks,
    userSpace: userSpace(driver, hostNodes, scene),
    blockers: [],
    notes: [],
    knownIssues: judgeIssues(
      knowledge().issues.filter((issue) => issue.vendor === null),
      evidence,
    ),
  }
}

/**
 * Reads what the host can share. It throws only for wrong options.
 * @param host the result of `probeHost`, if you already have it
 * @throws TypeError if an option is not a string
 */
export function mergedReport(options: HostOptions = {}, host: HostReport = probeHost(options)): MergedReport {
  checkHostOptions(options)
  const { devices: ofHost } = object(host, 'host')
  array(ofHost, 'host.devices')
  array(host.groups, 'host.groups')
  array(host.problems, 'host.problems')
  const attempts = new Attempts()
  const parents = listMdevParents(attempts, options)
  const types = new Map(parents.map((path) => [basename(path), readMdevTypes(path, attempts) ?? []] as const))
  const devices = new Map(host.devices.map((device) => [device.address, device]))
  let found: Installed | undefined
  const installed = (): Installed => (found ??= readInstalled(attempts, options))
  const { kernelRelease, commandLine } = host
  const seen = { kernelRelease, commandLine, hasQemu: () => installed().qemu !== null }
  const scene: Scene = {
    options,
    attempts,
    host,
    devices,
    types,
    installed,
    evidence: new HostEvidence(seen, options),
  }
  const ofPci = host.devices
    .filter(({ physfn }) => physfn === null)
    .map((device) => describePci(device, scene))
    .filter((device) => device !== null)
  const others = [...new Set([...parents, ...listDrmDevices(attempts, options)])]
    .filter((path) => !devices.has(basename(path)))
    .map((path) => describeOther(path, types.get(basename(path)) ?? [], scene))
  return {
    kernelRelease,
    devices: [...ofPci, ...others],
    problems: [...host.problems, ...attempts.problems],
  }
}
