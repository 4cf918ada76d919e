// `vfio ls`: every device that VFIO could give out, who has it, and whether it can be opened.
import { listIommuGroups, listPciDevices, resolveDevice } from '../host/index.js'
import { className, vendorName } from '../pci/index.js'
import type { CliContext } from './context.js'
import { hex, ids, json, table } from './format.js'
import { openable, type Openable } from './openable.js'

interface Listed {
  /** A PCI address, an mdev's UUID, or another device's name on its bus. */
  readonly name: string
  readonly bus: string
  readonly vendor: number | null
  readonly device: number | null
  readonly class: number | null
  readonly driver: string | null
  readonly iommuGroup: number | null
  readonly open: Openable
}

const NOT_PCI = { vendor: null, device: null, class: null }

function collect({ host }: CliContext): Listed[] {
  const ofPci = listPciDevices(host).map(({ address, sysfsPath, vendor, device, class: code }) => ({
    path: sysfsPath,
    bus: 'pci',
    facts: { vendor, device, class: code },
    name: address,
  }))
  // Mediated and platform devices are only known by their groups.
  const others = listIommuGroups(host)
    .flatMap(({ members }) => members)
    .filter(({ bus }) => bus !== 'pci')
    .map(({ name, bus, sysfsPath }) => ({ path: sysfsPath, bus: bus ?? 'other', facts: NOT_PCI, name }))
  return [...ofPci, ...others].flatMap(({ path, bus, facts, name }) => {
    const found = resolveDevice(path, host)
    // It may go away while it is read.
    if (found === null) return []
    const { driver, iommuGroup } = found
    return [{ name, bus, ...facts, driver, iommuGroup, open: openable(found, host) }]
  })
}

function describe({ bus, vendor, class: code }: Listed): string {
  if (vendor === null || code === null) return bus
  const what = className(code) ?? `class ${hex(code, 6)}`
  const maker = vendorName(vendor)
  return maker === null ? what : `${what}, ${maker}`
}

export function ls(context: CliContext, options: { json?: boolean }): void {
  const devices = collect(context)
  if (options.json === true) {
    context.out(json(devices))
    return
  }
  if (devices.length === 0) {
    context.out('no devices: there is no PCI bus here, or no sysfs\n')
    return
  }
  const rows = devices.map((each) => [
    each.name,
    each.iommuGroup === null ? '-' : String(each.iommuGroup),
    each.driver ?? '-',
    each.vendor === null || each.device === null ? '-' : ids(each.vendor, each.device),
    each.open.possible ? 'yes' : `no: ${each.open.why ?? ''}`,
    describe(each),
  ])
  context.out(table([['DEVICE', 'GROUP', 'DRIVER', 'ID', 'CAN BE OPENED', 'WHAT'], ...rows]))
}
