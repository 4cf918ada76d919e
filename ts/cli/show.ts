// `vfio show`: one device, as the host sees it and, when it can be opened, as VFIO does.
import { VfioError } from '../errors.js'
import { Attempts, problemText } from '../host/attempts.js'
import { examineIommuGroup } from '../host/groups.js'
import { type PciDevice, type ReadProblem, resolveDevice } from '../host/index.js'
import { examinePciDevice } from '../host/pci.js'
import { type Capability, className, type ExtendedCapability, vendorName } from '../pci/index.js'
import type { CliContext } from './context.js'
import { byteSize, CliError, failure, hex, ids, json, plural, table } from './format.js'
import { given } from './given.js'
import type { HostSide, ShowOutput, VfioSide } from './output.js'
import { openable, type Openable, POSSIBLE, refused } from './openable.js'
import { reach } from './reach.js'
import { socketOf } from './socket-name.js'

async function readThroughVfio(name: string, context: CliContext): Promise<VfioSide> {
  const device = await reach(name, context)
  try {
    const { info, addressSpace } = device
    const config = info.bus === 'pci' ? device.config : null
    return {
      info,
      regions: device.regions().map(({ name, index, size, flags, capabilities, mmapAreas }) => ({
        name,
        index,
        size,
        flags,
        capabilities,
        mmapAreas,
      })),
      capabilities: config?.capabilities() ?? [],
      extendedCapabilities: config?.extendedCapabilities() ?? [],
      problems: config?.problems().map(({ message }) => message) ?? [],
      interrupts: device.irqs().map(({ name, index, count, info }) => ({ ...info, name, index, count })),
      iommu: {
        type: addressSpace.type ?? null,
        pageSizes: addressSpace.pageSizes,
        iovaRanges: addressSpace.iovaRanges,
        mappingsAvailable: addressSpace.mappingsAvailable,
      },
    }
  } finally {
    await device.close()
  }
}

function resetText(methods: PciDevice['resetMethods']): string {
  if (methods === null) return 'yes'
  return methods.length === 0 ? 'none of its own' : methods.join(', ')
}

function titleOf({ name, bus, pci }: HostSide): string {
  if (pci === null) return `${name}  ${bus} device`
  const what = className(pci.class) ?? `class ${hex(pci.class, 6)}`
  const vendor = vendorName(pci.vendor)
  return [name, ids(pci.vendor, pci.device), vendor === null ? what : `${what}, ${vendor}`].join('  ')
}

function hostRows({ driver, iommuGroup, pci }: HostSide): string[][] {
  const members = iommuGroup?.members.map((each) => `${each.name} (${each.driver ?? 'no driver'})`) ?? []
  const rows = [
    ['driver', driver ?? 'none'],
    ['IOMMU group', iommuGroup === null ? 'none' : `${iommuGroup.id}: ${members.join(', ')}`],
  ]
  if (pci === null) return rows
  rows.push(['revision', hex(pci.revision, 2)])
  rows.push(['subsystem', ids(pci.subsystemVendor, pci.subsystemDevice)])
  rows.push(['reset', resetText(pci.resetMethods)])
  if (pci.powerState !== null) rows.push(['power state', pci.powerState])
  if (pci.numaNode !== null) rows.push(['NUMA node', String(pci.numaNode)])
  if (pci.driverOverride !== null) rows.push(['only driver', pci.driverOverride])
  if (pci.sriov !== null)
    rows.push(['SR-IOV', `${pci.sriov.numVfs} of ${pci.sriov.totalVfs} virtual functions`])
  if (pci.physfn !== null) rows.push(['virtual function of', pci.physfn])
  return rows
}

function regionRows({ regions }: VfioSide): string[][] {
  return regions.map(({ name, size, flags, capabilities, mmapAreas }) => [
    name,
    byteSize(size),
    `${flags.read ? 'r' : '-'}${flags.write ? 'w' : '-'}`,
    mmapAreas.length === 0
      ? 'not mapped'
      : `mapped at ${mmapAreas.map((area) => `${hex(area.offset)}-${hex(area.offset + area.size - 1)}`).join(', ')}`,
    capabilities.map((capability) => capability.name).join(', '),
  ])
}

function capabilityDetail(capability: Capability | ExtendedCapability): string {
  switch (capability.name) {
    case 'msi':
      return `${plural(capability.vectorsCapable, 'vector')}, ${capability.is64Bit ? 64 : 32}-bit`
    case 'msix':
      return `${plural(capability.tableSize, 'vector')}, table at ${hex(capability.table.offset)} of bar${capability.table.bar}`
    case 'pm':
      return capability.state
    default:
      return ''
  }
}

function irqRows({ interrupts }: VfioSide): string[][] {
  return interrupts.map(({ name, count, flags }) => [
    name,
    plural(count, 'vector'),
    [flags.maskable && 'maskable', flags.automasked && 'masked when it fires', flags.noresize && 'fixed set']
      .filter((each) => each !== false)
      .join(', '),
  ])
}

function iommuRows({ iommu }: VfioSide): string[][] {
  const rows = [
    ['type', iommu.type ?? 'none'],
    ['page sizes', iommu.pageSizes.map(byteSize).join(', ')],
    ['addresses', iommu.iovaRanges.map(({ start, last }) => `${hex(start)}-${hex(last)}`).join(', ')],
  ]
  if (iommu.mappingsAvailable !== null) rows.push(['mappings left', String(iommu.mappingsAvailable)])
  return rows
}

interface Shown {
  readonly host: HostSide
  readonly open: Openable
  readonly device: VfioSide | null
  readonly problems: readonly ReadProblem[]
}

function print({ out }: CliContext, { host, open, device, problems }: Shown): void {
  const verdict = open.possible
    ? open.tried
      ? 'yes'
      : `not tried: ${open.why ?? ''}`
    : `no: ${open.why ?? ''}`
  out(`${titleOf(host)}\n`)
  out(
    table(
      [
        ...hostRows(host),
        ['can be opened', verdict],
        ...(open.remedy === null ? [] : [['', open.remedy]]),
        ...problems.map((each) => ['could not be read', problemText(each)]),
      ],
      '  ',
    ),
  )
  if (device === null) return
  const capabilities = [...device.capabilities, ...device.extendedCapabilities].map((each) => [
    hex(each.offset, 2),
    each.title,
    capabilityDetail(each),
  ])
  const sections: [string, string[][]][] = [
    ['Regions', regionRows(device)],
    ['Capabilities', capabilities],
    ['Problems of the configuration space', device.problems.map((each) => [each])],
    ['Interrupts', irqRows(device)],
    ['IOMMU', iommuRows(device)],
  ]
  for (const [title, rows] of sections) {
    if (rows.length > 0) out(`\n${title}\n${table(rows, '  ')}`)
  }
}

/** What is to be shown of the host's side, whether the device can be opened as far as that tells, and by which name then. */
interface Found {
  readonly host: HostSide
  readonly open: Openable
  readonly path: string
}

function find(context: CliContext, id: string, { run }: Attempts): Found {
  // The host knows nothing of a device that a process serves.
  if (socketOf(id) !== null) {
    const host = { name: id, bus: 'pci', driver: null, iommuGroup: null, pci: null }
    return { host, open: POSSIBLE, path: id }
  }
  const found = given(() => resolveDevice(id, context.host))
  if (found === null) throw new CliError(`there is no device ${id}; \`vfio ls\` lists them`)
  const host: HostSide = {
    name: found.name,
    bus: found.bus,
    driver: found.driver,
    iommuGroup: found.iommuGroup === null ? null : examineIommuGroup(found.iommuGroup, context.host, run),
    pci: found.kind === 'pci' ? examinePciDevice(found.name, context.host, run) : null,
  }
  const open = openable(found, context.host, {
    ...(host.pci === null ? {} : { classCode: host.pci.class }),
    ...(host.iommuGroup === null ? {} : { group: host.iommuGroup }),
  })
  return { host, open, path: found.sysfsPath }
}

export async function show(context: CliContext, id: string, options: { json?: boolean }): Promise<void> {
  const attempts = new Attempts()
  const { host, path, open: expected } = find(context, id, attempts)
  let open = expected
  let device: VfioSide | null = null
  if (open.possible) {
    try {
      device = await readThroughVfio(path, context)
    } catch (error) {
      // What only opening tells: the group is busy, a token is missing. The host's side is worth showing all the same.
      if (!(error instanceof VfioError)) throw error
      open = refused(error, failure(error))
    }
  }
  if (options.json === true)
    context.out(
      json({ schema: 'vfio-show/1', host, open, device, problems: attempts.problems } satisfies ShowOutput),
    )
  else print(context, { host, open, device, problems: attempts.problems })
}
