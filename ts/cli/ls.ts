// `vfio ls`: every device that VFIO could give out, by IOMMU group; who has it, whether it can be opened, and what to do
// where it cannot. Given sockets, the devices that are served there instead.
import { Attempts, problemText } from '../host/attempts.js'
import { examineIommuGroups } from '../host/groups.js'
import {
  type HostOptions,
  type IommuGroup,
  type PciDevice,
  type ReadProblem,
  type ResolvedDevice,
  resolveDevice,
} from '../host/index.js'
import { lazyMachine } from '../host/machine.js'
import { examinePciDevices, pciAddresses } from '../host/pci.js'
import { className, vendorName } from '../pci/index.js'
import type { CliContext } from './context.js'
import { hex, ids, json, plural, table } from './format.js'
import { type KnownFacts, openable, type Openable } from './openable.js'
import type { ListedDevice, LsOutput } from './output.js'
import { servedDevices } from './served.js'
import { type Style, styleOf } from './style.js'

const NOT_PCI = { vendor: null, device: null, class: null }

/** What one listing is made with. */
interface Scene {
  readonly host: HostOptions
  readonly attempts: Attempts
  readonly groups: ReadonlyMap<number, IommuGroup>
  readonly machine: KnownFacts['machine']
}

/** What could not be read is not what is not there: nothing follows from it. */
const UNREAD: Openable = {
  possible: false,
  tried: false,
  why: 'it could not be read',
  reason: 'unread',
  remedy: 'What could not be read is listed below; root may be able to read more.',
}

function judged(device: ResolvedDevice, classCode: number, scene: Scene): Openable {
  const { host, attempts, groups, machine } = scene
  if (['driver', 'iommu_group'].some((name) => attempts.lacks(device.name, name))) return UNREAD
  const group = groups.get(device.iommuGroup ?? Number.NaN)
  return attempts.run(
    device.name,
    () => openable(device, host, { classCode, group, ...(machine && { machine }) }),
    UNREAD,
  )
}

function ofPci(device: PciDevice, scene: Scene): ListedDevice {
  const { address: name, sysfsPath, vendor, device: id, class: code, driver, iommuGroup, vfioDev } = device
  const found: ResolvedDevice = { name, sysfsPath, kind: 'pci', bus: 'pci', driver, iommuGroup, vfioDev }
  const open = judged(found, code, scene)
  return { name, bus: 'pci', vendor, device: id, class: code, driver, iommuGroup, open }
}

/** A device that is listed, and says neither what it is in one file nor in another. */
function ofNobody(name: string): ListedDevice {
  return { name, bus: 'pci', ...NOT_PCI, driver: null, iommuGroup: null, open: UNREAD }
}

/** Those without a group come last. */
const groupOf = ({ iommuGroup }: ListedDevice): number => iommuGroup ?? Number.MAX_SAFE_INTEGER

function ofGroup(group: IommuGroup, scene: Scene): ListedDevice[] {
  return group.members
    .filter(({ bus }) => bus !== 'pci' && bus !== null)
    .flatMap(({ name, bus, sysfsPath }) => {
      const found = scene.attempts.run(name, () => resolveDevice(sysfsPath, scene.host), null)
      // It may go away while it is read.
      if (found === null) return []
      const { driver, iommuGroup } = found
      const open = judged(found, 0, scene)
      return [{ name, bus: bus ?? 'other', ...NOT_PCI, driver, iommuGroup, open }]
    })
}

function collect({ host }: CliContext, attempts: Attempts): ListedDevice[] {
  const groups = examineIommuGroups(host, attempts.run)
  const byNumber = new Map(groups.map((group) => [group.id, group]))
  const scene: Scene = { host, attempts, groups: byNumber, machine: lazyMachine(host) }
  const known = new Map(examinePciDevices(host, attempts).map((device) => [device.address, device]))
  const pci = pciAddresses(host, (_subject, read) => read()).flatMap((address) => {
    const device = known.get(address)
    if (device !== undefined) return [ofPci(device, scene)]
    // One that went away left no problem behind.
    return attempts.has(address) ? [ofNobody(address)] : []
  })
  // Mediated and platform devices are only known by their groups.
  const all = [...pci, ...groups.flatMap((group) => ofGroup(group, scene))]
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
  if (open.reason === 'unread') return style.warn('?')
  if (open.possible && !open.tried) return style.warn(`not tried: ${open.why ?? ''}`)
  return open.possible ? style.good('yes') : style.dim(`no: ${open.why ?? ''}`)
}

/** The parts of a device that could not be read, each once. */
function unread(problems: readonly ReadProblem[], style: Style): string {
  const lines = [...new Set(problems.map(problemText))]
  return lines.map((line) => `\n${style.warn('could not be read')}: ${line}\n`).join('')
}

/** Where the way to open a device is another driver, what to do is the same for each. */
const BIND = 'vfio bind DEVICE binds it to VFIO; vfio unbind DEVICE gives it back to the host'
const NOT_ON_VFIO = ['wrong-driver', 'no-driver']

/** What stands in the way, the most frequent first, each with its remedy beneath. */
function obstacles(devices: readonly ListedDevice[], style: Style): string {
  const byRemedy = new Map<string, ListedDevice[]>()
  for (const each of devices) {
    const { possible, remedy, reason } = each.open
    if (possible || remedy === null || reason === 'bridge' || reason === 'unread') continue
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

export async function ls(
  context: CliContext,
  sockets: readonly string[],
  options: { json?: boolean },
): Promise<void> {
  const attempts = new Attempts()
  const devices = sockets.length > 0 ? await servedDevices(sockets, context) : collect(context, attempts)
  const { problems } = attempts
  if (options.json === true) {
    context.out(json({ schema: 'vfio-ls/1', devices, problems } satisfies LsOutput))
    return
  }
  if (devices.length === 0) {
    context.out('no devices: no PCI bus, or no sysfs\n')
    return
  }
  const style = styleOf(context)
  const rows = devices.map((each, index) => [
    bracket(devices, index),
    style.strong(each.name),
    attempts.lacks(each.name, 'driver') ? '?' : (each.driver ?? '-'),
    each.vendor === null || each.device === null
      ? each.bus === 'pci'
        ? '?'
        : '-'
      : ids(each.vendor, each.device),
    openCell(each, style),
    describe(each),
  ])
  const head = ['GROUP', 'DEVICE', 'DRIVER', 'ID', 'CAN BE OPENED', 'WHAT'].map(style.dim)
  context.out(table([head, ...rows], { width: context.columns }))
  context.out(obstacles(devices, style))
  context.out(unread(problems, style))
}
