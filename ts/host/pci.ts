// PCI devices as sysfs shows them. It must not know groups or decide whether a device can be opened.

import { type Attempt, type Attempts, strictly } from './attempts.js'
import { compareBdf, formatBdf, isBdf, type PciAddress, parseBdf } from './bdf.js'
import { readDriver, readIommuGroupNumber, readVfioDev, type VfioDev } from './device.js'
import {
  checkHostOptions,
  type HostOptions,
  linkName,
  listNames,
  readBytes,
  readNumber,
  readText,
  readUnsigned,
  resolvePath,
  sysfsRoot,
} from './sysfs.js'

/** One line of a device's `resource` file that is not empty. */
export interface PciResource {
  /** Line number: 0-5 are BARs, 6 is the ROM, 7-12 a physical function's VF BARs, the rest bridge windows. */
  readonly index: number
  readonly kind: 'io' | 'memory' | 'other'
  /** First address, as the processor sees it. */
  readonly start: bigint
  /** Length in bytes. */
  readonly size: bigint
  readonly prefetchable: boolean
  readonly is64Bit: boolean
  /** `IORESOURCE_*` of the kernel, as printed. */
  readonly flags: number
}

/** What a physical function reports about its virtual functions. */
export interface PciSriov {
  /** `sriov_totalvfs`: how many it can have, as limited by its driver. */
  readonly totalVfs: number
  /** `sriov_numvfs`: how many it has. */
  readonly numVfs: number
}

/** A PCI device as sysfs shows it. */
export interface PciDevice {
  /** `0000:00:10.0`. */
  readonly address: string
  /** Its directory, links followed. */
  readonly sysfsPath: string
  readonly vendor: number
  readonly device: number
  readonly subsystemVendor: number
  readonly subsystemDevice: number
  /** 24 bits: base class, subclass, programming interface. */
  readonly class: number
  readonly revision: number
  /** Name of its driver; null if it has none. */
  readonly driver: string | null
  /** The only driver that may take it; null if any may. */
  readonly driverOverride: string | null
  readonly iommuGroup: number | null
  /** Null if the platform does not report it. */
  readonly numaNode: number | null
  readonly resources: readonly PciResource[]
  /** `D0`, `D3hot`, `unknown`...; null before Linux 5.11. */
  readonly powerState: string | null
  /**
   * How the kernel would reset it, in the order it would try: `flr`, `af_flr`, `pm`, `bus`... Empty if it
   * cannot; null if it can but the kernel does not say how (before Linux 5.15).
   */
  readonly resetMethods: readonly string[] | null
  /** Address of the physical function, null for a device that is no virtual function. */
  readonly physfn: string | null
  /** Addresses of the virtual functions, in their order. */
  readonly virtfns: readonly string[]
  /** Null for a device without SR-IOV. */
  readonly sriov: PciSriov | null
  /** VFIO's entry for it, null if VFIO does not have it. */
  readonly vfioDev: VfioDev | null
}

const IORESOURCE_IO = 0x00000100
const IORESOURCE_MEM = 0x00000200
const IORESOURCE_PREFETCH = 0x00002000
const IORESOURCE_MEM_64 = 0x00100000

function parseResource(line: string, index: number): PciResource | null {
  const [start = 0n, end = 0n, flags = 0n] = line.split(/\s+/).map(BigInt)
  if (start === 0n && end === 0n) return null
  if (end < start) throw new Error(`line ${index} of resource ends before it starts`)
  // The kernel's flags fit in 32 bits; it prints them as wide as an address.
  const bits = Number(flags & 0xffffffffn)
  const kind = (bits & IORESOURCE_IO) !== 0 ? 'io' : (bits & IORESOURCE_MEM) !== 0 ? 'memory' : 'other'
  return {
    index,
    kind,
    start,
    size: end - start + 1n,
    prefetchable: (bits & IORESOURCE_PREFETCH) !== 0,
    is64Bit: (bits & IORESOURCE_MEM_64) !== 0,
    flags: bits,
  }
}

function readResources(path: string): PciResource[] {
  const lines = readText(path, 'resource')?.split('\n') ?? []
  return lines.map(parseResource).filter((resource) => resource !== null)
}

function readResetMethods(path: string, names: ReadonlySet<string>): string[] | null {
  const methods = names.has('reset_method') ? readText(path, 'reset_method') : null
  if (methods !== null) return methods.split(/\s+/).filter((method) => method !== '')
  // Both files are there only for a device that can be reset; the older one does not say how.
  return names.has('reset') ? null : []
}

function readDriverOverride(path: string): string | null {
  const name = readText(path, 'driver_override')
  return name === null || name === '' || name === '(null)' ? null : name
}

function readVirtfns(path: string, names: ReadonlySet<string>): string[] {
  const numbers = [...names].flatMap((name) => {
    if (!name.startsWith('virtfn')) return []
    const match = /^virtfn(\d+)$/.exec(name)
    return match === null ? [] : [Number(match[1])]
  })
  return numbers
    .sort((a, b) => a - b)
    .map((number) => linkName(path, `virtfn${number}`))
    .filter((address) => address !== null)
}

function readSriov(path: string, names: ReadonlySet<string>): PciSriov | null {
  if (!names.has('sriov_totalvfs')) return null
  const totalVfs = readUnsigned(0xffff, path, 'sriov_totalvfs')
  const numVfs = readUnsigned(0xffff, path, 'sriov_numvfs')
  return totalVfs === null || numVfs === null ? null : { totalVfs, numVfs }
}

/** Registers of the header, PCI Local Bus Specification 6.1; sysfs shows these 64 bytes to everybody. */
const REVISION = 0x08
const HEADER_TYPE = 0x0e
const MULTIFUNCTION = 0x80

const CLASSES_OF_BRIDGES: readonly number[] = [0x0604, 0x0607]

/**
 * Whether a device is a bridge to another bus, which VFIO does not take: its header says so (type 1, or 2 for CardBus), or, where
 * that cannot be read, its class. An NVSwitch (0680) or a host bridge (0600) is a device like any other.
 * @param path its directory
 */
export function isPciBridge(path: string, classCode: number): boolean {
  const header = quietly(() => readBytes(path, 'config'))?.[HEADER_TYPE]
  if (header !== undefined && header !== 0xff) return (header & ~MULTIFUNCTION) !== 0
  return CLASSES_OF_BRIDGES.includes(classCode >>> 8)
}

function quietly<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    return null
  }
}

type Identity = Pick<
  PciDevice,
  'vendor' | 'device' | 'subsystemVendor' | 'subsystemDevice' | 'class' | 'revision'
>
/** Largest values of what identifies a device, by the names of the files. */
const IDENTITY = {
  vendor: 0xffff,
  device: 0xffff,
  subsystem_vendor: 0xffff,
  subsystem_device: 0xffff,
  class: 0xffffff,
  revision: 0xff,
} as const

/** The same from other files: the uevent has all but the revision, which is in the header. */
function identityElsewhere(path: string): Partial<Record<keyof typeof IDENTITY, number>> {
  const uevent = quietly(() => readText(path, 'uevent')) ?? ''
  const hex = (pattern: RegExp, part: number): number | undefined => {
    const text = pattern.exec(uevent)?.[part]
    return text === undefined ? undefined : Number.parseInt(text, 16)
  }
  const found = {
    vendor: hex(/^PCI_ID=([0-9A-F]{1,4}):([0-9A-F]{1,4})$/im, 1),
    device: hex(/^PCI_ID=([0-9A-F]{1,4}):([0-9A-F]{1,4})$/im, 2),
    subsystem_vendor: hex(/^PCI_SUBSYS_ID=([0-9A-F]{1,4}):([0-9A-F]{1,4})$/im, 1),
    subsystem_device: hex(/^PCI_SUBSYS_ID=([0-9A-F]{1,4}):([0-9A-F]{1,4})$/im, 2),
    class: hex(/^PCI_CLASS=([0-9A-F]{1,6})$/im, 1),
    revision: quietly(() => readBytes(path, 'config'))?.[REVISION],
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined))
}

/** Null if the device went away while it was read, or one of these cannot be read anywhere. */
function readIdentity(path: string, address: string, attempt: Attempt): Identity | null {
  const known: Partial<Record<keyof typeof IDENTITY, number>> = {}
  let elsewhere: ReturnType<typeof identityElsewhere> | undefined
  for (const [name, most] of Object.entries(IDENTITY) as [keyof typeof IDENTITY, number][]) {
    const value = attempt(address, () => readUnsigned(most, path, name), undefined, name)
    // Every device has these: without one, it went away.
    if (value === null) return null
    const found = value ?? (elsewhere ??= identityElsewhere(path))[name]
    if (found === undefined) return null
    known[name] = found
  }
  const { vendor = 0, device = 0, subsystem_vendor = 0, subsystem_device = 0, revision = 0 } = known
  return {
    vendor,
    device,
    subsystemVendor: subsystem_vendor,
    subsystemDevice: subsystem_device,
    class: known.class ?? 0,
    revision,
  }
}

/**
 * Reads one device as {@link readPciDevice} does.
 * @param attempt gets each attribute that cannot be read
 */
export function examinePciDevice(bdf: string, options: HostOptions, attempt: Attempt): PciDevice | null {
  const address = formatBdf(parseBdf(bdf))
  const path = resolvePath(sysfsRoot(options), 'bus', 'pci', 'devices', address)
  if (path === null) return null
  const identity = readIdentity(path, address, attempt)
  if (identity === null) return null
  // A file that is not listed is not asked for: that costs more than reading one that is there.
  const names = new Set(listNames(path))
  const one = <T>(name: string, read: () => T, otherwise: T): T => attempt(address, read, otherwise, name)
  const ifListed = <T>(name: string, read: () => T | null): T | null =>
    names.has(name) ? one(name, read, null) : null
  const numaNode = one('numa_node', () => readNumber(path, 'numa_node'), null)
  return {
    address,
    sysfsPath: path,
    ...identity,
    driver: ifListed('driver', () => readDriver(path)),
    driverOverride: one('driver_override', () => readDriverOverride(path), null),
    iommuGroup: ifListed('iommu_group', () => readIommuGroupNumber(path)),
    numaNode: numaNode === null || numaNode < 0 ? null : numaNode,
    resources: one('resource', () => readResources(path), []),
    powerState: ifListed('power_state', () => readText(path, 'power_state')),
    resetMethods: one('reset_method', () => readResetMethods(path, names), null),
    physfn: ifListed('physfn', () => linkName(path, 'physfn')),
    virtfns: one('virtfn', () => readVirtfns(path, names), []),
    sriov: one('sriov_numvfs', () => readSriov(path, names), null),
    vfioDev: ifListed('vfio-dev', () => readVfioDev(path, options)),
  }
}

/**
 * Reads one device.
 * @param bdf its address, with or without the domain
 * @returns null if there is no such device
 * @throws TypeError or RangeError if `bdf` is no address, see {@link parseBdf}
 */
export function readPciDevice(bdf: string, options: HostOptions = {}): PciDevice | null {
  checkHostOptions(options)
  return examinePciDevice(bdf, options, strictly)
}

function addressesOf(names: readonly string[] | null, attempt: Attempt): string[] {
  return (names ?? [])
    .filter(isBdf)
    .flatMap((name) => attempt<PciAddress[]>(name, () => [parseBdf(name)], []))
    .sort(compareBdf)
    .map(formatBdf)
}

/** Addresses of every device that sysfs lists. */
export function pciAddresses(options: HostOptions, attempt: Attempt): string[] {
  const list = (): string[] | null => listNames(sysfsRoot(options), 'bus', 'pci', 'devices')
  return addressesOf(attempt('bus/pci', list, null), attempt)
}

/** Every PCI device, by address: what cannot be read of one costs neither the rest of it nor the others. */
export function examinePciDevices(options: HostOptions, attempts: Attempts): PciDevice[] {
  return pciAddresses(options, attempts.run).flatMap(
    (address) => attempts.run(address, () => examinePciDevice(address, options, attempts.run), null) ?? [],
  )
}

/** Every PCI device, by address. Empty where there is no PCI, or no sysfs. */
export function listPciDevices(options: HostOptions = {}): PciDevice[] {
  checkHostOptions(options)
  return pciAddresses(options, strictly)
    .map((address) => readPciDevice(address, options))
    .filter((device) => device !== null)
}
