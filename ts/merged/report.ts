// The merged-driver report: which devices the host can share with guests while it uses them, by which framework, how
// much of it is left, and what is known to be wrong. It reads, and never writes or opens a device.

import { basename } from 'node:path'
import { readDriver } from '../host/device.js'
import { isVfioMember } from '../host/groups.js'
import type { MdevType } from '../host/mdev.js'
import { Attempts, type ReadProblem } from '../host/attempts.js'
import { type HostReport, probeHost, type ProbedPciDevice } from '../host/probe.js'
import { type VfMaking, vfMaking } from '../host/vf-making.js'
import { array, object } from '../validate.js'
import { checkHostOptions, type HostOptions, listNames, readText, sysfsRoot } from '../host/sysfs.js'
import {
  type HostNodes,
  listMdevParents,
  readDriverModule,
  readHostNodes,
  readMdevTypes,
  readSharedFunction,
  type SharedFunction,
} from './facts.js'
import { judge, type JudgedIssue } from './judge.js'
import { KNOWN_ISSUES } from './known-issues.js'
import { type ParameterInForce, parametersOf } from './parameters.js'
import { amd } from './vendors/amd.js'
import { intel } from './vendors/intel.js'
import { nvidia } from './vendors/nvidia.js'
import type { Vendor, VendorFacts } from './vendors/vendor.js'

/**
 * How a device is shared, told by what is there: mediated devices; virtual functions for VFIO's drivers; virtual
 * functions that stay with NVIDIA's driver; not at all.
 */
export type Framework = 'mdev' | 'sriov' | 'vendor-vfio' | 'none'

/** Whether the host uses the device while guests do. */
export interface MergedState {
  /** `merged`: both, now; `possible`: the host does, guests could; `no`: the host does not, or guests cannot. */
  readonly state: 'merged' | 'possible' | 'no'
  readonly why: string
}

/** Whether what guests get can signal them from kernel to kernel. */
export interface HookFinding {
  /** Interrupts by eventfd, doorbells by eventfd, level interrupts. */
  readonly hook: 'irqfd' | 'ioeventfd' | 'level'
  readonly answer: 'yes' | 'no' | 'cannot-tell'
  readonly why: string
}

/** One device that can be shared, or a GPU or accelerator that cannot. */
export interface SharedDevice {
  /** A PCI address, or another parent's name. */
  readonly name: string
  readonly bus: 'pci' | 'other'
  readonly sysfsPath: string
  /** Null unless it is on PCI. */
  readonly pci: Pick<
    ProbedPciDevice,
    'vendor' | 'device' | 'class' | 'revision' | 'names' | 'powerState'
  > | null
  readonly driver: string | null
  /** Null where neither the module nor the driver gives one. */
  readonly driverVersion: string | null
  readonly hostNodes: HostNodes
  readonly framework: Framework
  /** What was found that makes it so. */
  readonly frameworkWhy: string
  readonly merged: MergedState
  /**
   * Null for a device that has no virtual functions and cannot be given any as it is now. `free` are those that writing
   * `sriov_numvfs` may add.
   */
  readonly vfs: { readonly total: number; readonly active: number; readonly free: number } | null
  /** Whether writing `sriov_numvfs` makes virtual functions; null for a device without SR-IOV. */
  readonly vfMaking: VfMaking | null
  readonly functions: readonly SharedFunction[]
  readonly mdevTypes: readonly MdevType[]
  readonly parameters: readonly ParameterInForce[]
  readonly hooks: readonly HookFinding[]
  readonly blockers: readonly string[]
  readonly notes: readonly string[]
  readonly knownIssues: readonly JudgedIssue[]
}

export interface MergedReport {
  readonly kernelRelease: string | null
  /** GPUs, accelerators and whatever can be shared, by address; parents that are not on PCI last. */
  readonly devices: readonly SharedDevice[]
  /** What is there and could not be read. */
  readonly problems: readonly ReadProblem[]
}

const VENDORS: Readonly<Record<number, Vendor>> = { 0x1002: amd, 0x8086: intel, 0x10de: nvidia }
const OTHERS: Vendor = { blockers: () => [], notes: () => [] }
const BASE_CLASS_DISPLAY = 0x03
const BASE_CLASS_ACCELERATOR = 0x12

/** What is read once and holds for every device. */
interface Scene {
  readonly options: HostOptions
  readonly attempts: Attempts
  readonly host: HostReport
  readonly devices: ReadonlyMap<string, ProbedPciDevice>
  readonly types: ReadonlyMap<string, readonly MdevType[]>
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

/**
 * Told apart by what is there, never by a name.
 * @param usableVfs virtual functions that are there or can be made, and that VFIO's drivers can give to guests
 */
function frameworkOf(
  types: readonly MdevType[],
  functions: readonly SharedFunction[],
  usableVfs: number,
): Pick<SharedDevice, 'framework' | 'frameworkWhy'> {
  if (functions.some(({ creatableVgpuTypes }) => creatableVgpuTypes !== null)) {
    const frameworkWhy = 'its virtual functions have nvidia/creatable_vgpu_types'
    return { framework: 'vendor-vfio', frameworkWhy }
  }
  if (types.length > 0) {
    const kinds = new Set(types.map(({ id }) => id)).size
    return { framework: 'mdev', frameworkWhy: `it offers ${kinds} mdev type${kinds === 1 ? '' : 's'}` }
  }
  if (usableVfs > 0)
    return {
      framework: 'sriov',
      frameworkWhy:
        functions.length > 0
          ? `it has ${functions.length} of ${usableVfs} virtual functions`
          : `sriov_totalvfs is ${usableVfs}`,
    }
  return { framework: 'none', frameworkWhy: 'it offers neither mdev types nor usable virtual functions' }
}

function mergedState(facts: {
  driver: string | null
  replaced: boolean
  needsNode: boolean
  hasNode: boolean
  framework: Framework
  active: number
  possible: boolean
  /** The vendor's own tool, which makes virtual functions that are not there yet. */
  tool: string | null
}): MergedState {
  const { driver, framework, active, tool } = facts
  const no = (why: string): MergedState => ({ state: 'no', why })
  if (driver === null) return no('no driver has it')
  if (driver.includes('vfio')) return no(`${driver} has it, so that the host does not use it`)
  if (facts.replaced) return no(`${driver} stands in the place of the driver by which the host would use it`)
  if (framework === 'none' && tool === null) return no('nothing of it can be given to guests')
  if (facts.needsNode && !facts.hasNode)
    return no(`${driver} has it, but gives the host no DRM or accel node`)
  if (framework === 'none')
    return { state: 'possible', why: `${driver} serves the host, and guests could have some after: ${tool}` }
  if (active > 0) return { state: 'merged', why: `${driver} serves the host, and guests have ${active}` }
  if (facts.possible)
    return { state: 'possible', why: `${driver} serves the host, and guests could have some` }
  return no('guests have none, and none is left')
}

function genericHooks(framework: Framework, functions: readonly SharedFunction[]): HookFinding[] {
  const hooks = ['irqfd', 'ioeventfd', 'level'] as const
  if (framework === 'none')
    return hooks.map((hook) => ({ hook, answer: 'no', why: 'there is nothing to signal a guest' }))
  if (framework === 'sriov' && functions.some(({ onVfio }) => onVfio)) {
    const why = 'vfio-pci and its variants have it'
    return [
      { hook: 'irqfd', answer: 'yes', why: `${why} (VFIO_DEVICE_SET_IRQS)` },
      { hook: 'ioeventfd', answer: 'yes', why: `${why} (VFIO_DEVICE_IOEVENTFD)` },
      { hook: 'level', answer: 'no', why: 'a virtual function has no interrupt pin (PCI Express, SR-IOV)' },
    ]
  }
  return hooks.map((hook) => ({ hook, answer: 'cannot-tell', why: 'only the opened device itself tells' }))
}

/** Why the device has virtual functions that its driver does not make, and what does. */
function cannotMake(making: VfMaking | null): string[] {
  if (making?.answer !== 'no') return []
  return [making.remedy === null ? making.why : `${making.why}. ${making.remedy}`]
}

/** UUIDs that exist, whatever their type. */
function mdevCount(types: readonly MdevType[]): number {
  return types.reduce((sum, { devices }) => sum + devices.length, 0)
}

function functionsOf(device: ProbedPciDevice, { devices, attempts }: Scene): SharedFunction[] {
  return device.virtfns.flatMap((address) => {
    const vf = devices.get(address)
    if (vf === undefined) return []
    const onVfio = isVfioMember({ bus: 'pci', driver: vf.driver, vfioDev: vf.vfioDev })
    return [readSharedFunction(vf.sysfsPath, onVfio, attempts)]
  })
}

function describePci(device: ProbedPciDevice, scene: Scene): SharedDevice | null {
  const { attempts, host, options, types: allTypes } = scene
  const { address, sysfsPath, driver, sriov } = device
  const vendor = VENDORS[device.vendor] ?? OTHERS
  const functions = functionsOf(device, scene)
  // NVIDIA's mdev types of Ampere and later are those of the virtual functions.
  const mdevTypes = [address, ...device.virtfns].flatMap((name) => allTypes.get(name) ?? [])
  const making = attempts.run(address, () => vfMaking(device, options), null)
  const activeVfs = sriov?.numVfs ?? 0
  const maySet = making !== null && making.answer !== 'no'
  const totalVfs = sriov === null || (!maySet && activeVfs === 0) ? 0 : sriov.totalVfs
  const found = frameworkOf(mdevTypes, functions, vendor.ownFunctions?.(driver) === true ? 0 : totalVfs)
  if (!isGpu(device) && found.framework === 'none' && (sriov?.totalVfs ?? 0) === 0) return null
  const { framework } = found
  const nothing: HostNodes = { cards: [], renders: [], accels: [] }
  const hostNodes = attempts.run(address, () => readHostNodes(sysfsPath), nothing)
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
  const inUse = functions.filter(({ currentVgpuType }) => (currentVgpuType ?? 0) !== 0).length
  // A virtual function that exists is a guest's once a VFIO driver has it; on a driver of the host it is the host's.
  const given = functions.filter(({ onVfio }) => onVfio).length
  const active = framework === 'sriov' ? given : framework === 'mdev' ? mdevCount(mdevTypes) : inUse
  const possible =
    framework === 'sriov'
      ? (maySet && activeVfs < totalVfs) || functions.some(({ onVfio }) => !onVfio)
      : framework === 'mdev'
        ? mdevTypes.some(({ available }) => (available ?? 0) > 0)
        : functions.some(({ creatableVgpuTypes }) => (creatableVgpuTypes?.length ?? 0) > 0)
  const { vendor: vendorId, device: deviceId, class: code, revision, names, powerState } = device
  const judged = { driver, driverVersion, kernelRelease: host.kernelRelease, framework }
  return {
    name: address,
    bus: 'pci',
    sysfsPath,
    pci: { vendor: vendorId, device: deviceId, class: code, revision, names, powerState },
    driver,
    driverVersion,
    hostNodes,
    ...found,
    merged: mergedState({
      driver,
      replaced: driver !== null && vendor.replacesHostDriver?.(driver) === true,
      needsNode: isGpu(device),
      hasNode: hostNodes.cards.length + hostNodes.renders.length + hostNodes.accels.length > 0,
      framework,
      active,
      possible,
      tool: activeVfs === 0 ? (making?.tool ?? null) : null,
    }),
    vfs:
      totalVfs === 0
        ? null
        : { total: totalVfs, active: activeVfs, free: maySet ? Math.max(0, totalVfs - activeVfs) : 0 },
    vfMaking: making,
    functions,
    mdevTypes,
    parameters: parametersOf({ vendor: vendorId, driver }, host.commandLine, attempts, options),
    hooks: vendor.hooks?.(facts) ?? genericHooks(framework, functions),
    blockers: [
      ...(driver === null ? ['no driver has the device'] : []),
      ...vendor.blockers(facts),
      ...(driver === null || (sriov?.totalVfs ?? 0) === 0 || activeVfs > 0 ? [] : cannotMake(making)),
    ],
    notes: vendor.notes(facts),
    knownIssues: KNOWN_ISSUES.filter((issue) => issue.vendor === vendorId).map((issue) =>
      judge(issue, judged),
    ),
  }
}

/** A parent of mediated devices that is not on PCI, such as the sample drivers'. */
function describeOther(path: string, mdevTypes: readonly MdevType[], scene: Scene): SharedDevice {
  const { attempts } = scene
  const name = basename(path)
  const bound = attempts.run(name, () => readDriver(path), null)
  const driver = bound ?? attempts.run(name, () => readDriverModule(path), null)
  const active = mdevCount(mdevTypes)
  const left = mdevTypes.some(({ available }) => (available ?? 0) > 0)
  const merged: MergedState =
    active > 0
      ? { state: 'merged', why: `guests have ${active}` }
      : left
        ? { state: 'possible', why: 'guests could have some' }
        : { state: 'no', why: 'guests have none, and none is left' }
  return {
    name,
    bus: 'other',
    sysfsPath: path,
    pci: null,
    driver,
    driverVersion: driver === null ? null : readVersion(driver, OTHERS, scene),
    hostNodes: { cards: [], renders: [], accels: [] },
    ...frameworkOf(mdevTypes, [], 0),
    merged,
    vfs: null,
    vfMaking: null,
    functions: [],
    mdevTypes,
    parameters: [],
    hooks: genericHooks('mdev', []),
    blockers: [],
    notes: [],
    knownIssues: [],
  }
}

/**
 * Reads what the host can share. It throws for wrong options only.
 * @param host what `probeHost` said, if that was asked already
 * @throws TypeError if an option is no text
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
  const scene: Scene = { options, attempts, host, devices, types }
  const ofPci = host.devices
    .filter(({ physfn }) => physfn === null)
    .map((device) => describePci(device, scene))
    .filter((device) => device !== null)
  const others = parents
    .filter((path) => !devices.has(basename(path)))
    .map((path) => describeOther(path, types.get(basename(path)) ?? [], scene))
  return {
    kernelRelease: host.kernelRelease,
    devices: [...ofPci, ...others],
    problems: [...host.problems, ...attempts.problems],
  }
}
