// PCI devices as sysfs shows them. It must not know groups or decide whether a device can be opened.

import { compareBdf, formatBdf, isBdf, type PciAddress, parseBdf } from './bdf.js'
import { readDriver, readIommuGroupNumber, readVfioDev, type VfioDev } from './device.js'
import {
  checkHostOptions,
  type HostOptions,
  linkName,
  listNames,
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

/** What a physical function says of its virtual ones. */
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
  /** Name of the driver that has it, null if none has. */
  readonly driver: string | null
  /** The only driver allowed to take it, null if any may. */
  readonly driverOverride: string | null
  readonly iommuGroup: number | null
  /** Null if the platform does not say. */
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

/**
 * Reads one device.
 * @param bdf its address, with or without the domain
 * @returns null if there is no such device
 * @throws TypeError or RangeError if `bdf` is no address, see {@link parseBdf}
 */
export function readPciDevice(bdf: string, options: HostOptions = {}): PciDevice | null {
  checkHostOptions(options)
  const address = formatBdf(parseBdf(bdf))
  const path = resolvePath(sysfsRoot(options), 'bus', 'pci', 'devices', address)
  if (path === null) return null
  const vendor = readUnsigned(0xffff, path, 'vendor')
  const device = readUnsigned(0xffff, path, 'device')
  const subsystemVendor = readUnsigned(0xffff, path, 'subsystem_vendor')
  const subsystemDevice = readUnsigned(0xffff, path, 'subsystem_device')
  const classCode = readUnsigned(0xffffff, path, 'class')
  const revision = readUnsigned(0xff, path, 'revision')
  // Every device has these: without one, it went away while it was read.
  if (vendor === null || device === null || subsystemVendor === null || subsystemDevice === null) return null
  if (classCode === null || revision === null) return null
  // A file that is not listed is not asked for: that costs more than reading one that is there.
  const names = new Set(listNames(path))
  const numaNode = readNumber(path, 'numa_node')
  return {
    address,
    sysfsPath: path,
    vendor,
    device,
    subsystemVendor,
    subsystemDevice,
    class: classCode,
    revision,
    driver: names.has('driver') ? readDriver(path) : null,
    driverOverride: readDriverOverride(path),
    iommuGroup: names.has('iommu_group') ? readIommuGroupNumber(path) : null,
    numaNode: numaNode === null || numaNode < 0 ? null : numaNode,
    resources: readResources(path),
    powerState: names.has('power_state') ? readText(path, 'power_state') : null,
    resetMethods: readResetMethods(path, names),
    physfn: names.has('physfn') ? linkName(path, 'physfn') : null,
    virtfns: readVirtfns(path, names),
    sriov: readSriov(path, names),
    vfioDev: names.has('vfio-dev') ? readVfioDev(path, options) : null,
  }
}

/** Every PCI device, by address. Empty where there is no PCI, or no sysfs. */
export function listPciDevices(options: HostOptions = {}): PciDevice[] {
  checkHostOptions(options)
  const addresses: PciAddress[] = (listNames(sysfsRoot(options), 'bus', 'pci', 'devices') ?? [])
    .filter(isBdf)
    .map(parseBdf)
  return addresses
    .sort(compareBdf)
    .map((address) => readPciDevice(formatBdf(address), options))
    .filter((device) => device !== null)
}
