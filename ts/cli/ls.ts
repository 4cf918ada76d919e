// `vfio ls`: every device that VFIO could give out, by IOMMU group; who has it, whether it can be opened, and what to do
// where it cannot.
import {
  type HostOptions,
  type IommuGroup,
  listIommuGroups,
  listPciDevices,
  type PciDevice,
  type ResolvedDevice,
  resolveDevice,
} from '../host/index.js'
import { className, vendorName } from '../pci/index.js'
import type { CliContext } from './context.js'
import { hex, ids, json, plural, table } from './format.js'
import { openable } from './openable.js'
import type { ListedDevice, LsOutput } from './output.js'
import { type Style, styleOf } from './style.js'

const NOT_PCI = { vendor: null, device: null, class: null }

function ofPci(device: PciDevice, host: HostOptions, group: IommuGroup | undefined): ListedDevice {
  const { address: name, sysfsPath, vendor, device: id, class: code, driver, iommuGroup, vfioDev } = device
  const found: ResolvedDevice = { name, sysfsPath, kind: 'pci', bus: 'pci', driver, iommuGroup, vfioDev }
  const open = openable(found, host, { classCode: code, group })
  return { name, bus: 'pci', vendor, device: id, class: code, driver, iommuGroup, open }
}

/** Those without a group come last. */
const groupOf = ({ iommuGroup }: ListedDevice): number => iommuGroup ?? Number.MAX_SAFE_INTEGER

function ofGroup(group: IommuGroup, host: HostOptions): ListedDevice[] {
  return group.members
    .filter(({ bus }) => bus !== 'pci')
    .flatMap(({ name, bus, sysfsPath }) => {
      const found = resolveDevice(sysfsPath, host)
      // It may go away while it is read.
      if (found === null) return []
      const { driver, iommuGroup } = found
      const open = openable(found, host, { group })
      return [{ name, bus: bus ?? 'other', ...NOT_PCI, driver, iommuGroup, open }]
    })
}

function collect({ host }: CliContext): ListedDevice[] {
  const groups = listIommuGroups(host)
  const byNumber = new Map(groups.map((group) => [group.id, group]))
  const pci = listPciDevices(host).map((device) =>
    ofPci(device, host, byNumber.get(device.iommuGroup ?? Number.NaN)),
  )
  // Mediated and platform devices are only known by their groups.
  const all = [...pci, ...groups.flatMap((group) => ofGroup(group, host))]
  // The order within a group stays.
  return all.sort((a, b) => groupOf(a) - groupOf(b))
}

function describe({ bus, vendor, class: code }: ListedDevice): string {
  if (vendor === null || code === null) return bus
  const what = className(code) ?? `class ${hex(code, 6)}`
  const maker = vendorName(vendor)
  return maker === null ? what : `${what}, ${maker}`
}

/** The number of a group beside its first device, and a bracket that holds all of them. */
function bracket(devices: readonly ListedDevice[], index: number): string {
  const group = devices[index]?.iommuGroup ?? null
  if (group === null) return '-'
  const first = devices[index - 1]?.iommuGroup !== group
  const last = devices[index + 1]?.iommuGroup !== group
  const side = first && last ? '─' : first ? '┬' : last ? '└' : '├'
  const widest = String(devices.reduce((most, each) => Math.max(most, each.iommuGroup ?? 0), 0)).length
  return `${first ? String(group).padStart(widest) : ' '.repeat(widest)} ${side}`
}

function openCell({ open }: ListedDevice, style: Style): string {
  return open.possible ? style.good('yes') : style.dim(`no: ${open.why ?? ''}`)
}

/** Where the way to open a device is another driver, what to do is the same for each. */
const BIND = 'vfio bind DEVICE gives it to VFIO; vfio unbind DEVICE gives it back'
const NOT_ON_VFIO = ['wrong-driver', 'no-driver']

/** What stands in the way, the most frequent first, each with its remedy beneath. */
function obstacles(devices: readonly ListedDevice[], style: Style): string {
  const byRemedy = new Map<string, ListedDevice[]>()
  for (const each of devices) {
    const { possible, remedy, reason } = each.open
    if (possible || remedy === null || reason === 'bridge') continue
    const next = NOT_ON_VFIO.includes(reason ?? '') ? BIND : remedy
    byRemedy.set(next, [...(byRemedy.get(next) ?? []), each])
  }
  return [...byRemedy]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([remedy, concerned]) => {
      const [first] = concerned
      const who = concerned.length === 1 ? (first?.name ?? '') : plural(concerned.length, 'device')
      const why = remedy === BIND ? 'not on VFIO' : (first?.open.why ?? '')
      return `\n${style.warn(`${who}: ${why}`)}\n  -> ${remedy}\n`
    })
    .join('')
}

export function ls(context: CliContext, options: { json?: boolean }): void {
  const devices = collect(context)
  if (options.json === true) {
    context.out(json({ schema: 'vfio-ls/1', devices } satisfies LsOutput))
    return
  }
  if (devices.length === 0) {
    context.out('no devices: there is no PCI bus here, or no sysfs\n')
    return
  }
  const style = styleOf(context)
  const rows = devices.map((each, index) => [
    bracket(devices, index),
    style.strong(each.name),
    each.driver ?? '-',
    each.vendor === null || each.device === null ? '-' : ids(each.vendor, each.device),
    openCell(each, style),
    describe(each),
  ])
  const head = ['GROUP', 'DEVICE', 'DRIVER', 'ID', 'CAN BE OPENED', 'WHAT'].map(style.dim)
  context.out(table([head, ...rows], { width: context.columns }))
  context.out(obstacles(devices, style))
}
