// Plans for the drivers of PCI devices: to VFIO, and back to the host.

import { join } from 'node:path'
import { bindSteps, releaseSteps } from '../../host/bind.js'
import { isVfioMember, readIommuGroup } from '../../host/groups.js'
import { hostDrivers, isHolder } from '../../host/host-driver.js'
import { readModule } from '../../host/modules.js'
import { isPciBridge, type PciDevice, readPciDevice } from '../../host/pci.js'
import { ANY } from '../../host/step.js'
import { listNames, readText } from '../../host/sysfs.js'
import { chooseVfioDriver } from '../../host/vfio-driver.js'
import { boolean, oneOf, string } from '../../validate.js'
import { type Draft, neighboursOf, pciDevice, refuseUses, type Remarks, remarks } from './draft.js'
import { fileSteps } from './files.js'
import { unread } from './readers.js'
import type { ChangeOptions, HostChange } from './types.js'

type Bind = Extract<HostChange, { kind: 'bind' }>
type Unbind = Extract<HostChange, { kind: 'unbind' }>

const isBridge = ({ sysfsPath, class: code }: PciDevice): boolean => isPciBridge(sysfsPath, code)

const NVIDIA = 0x10de

/** A virtual function of an NVIDIA GPU is a vGPU only while it stays with NVIDIA's own driver. */
function warnOfStray({ address, vendor, physfn }: PciDevice, driver: string, told: Remarks): void {
  if (vendor === NVIDIA && physfn !== null && driver.includes('vfio'))
    told.warnings.push(
      `${address} is a virtual function of an NVIDIA GPU: on ${driver} it is not a vGPU, and of no use to a guest; vfio vgpu ${address} TYPE makes it one on the driver nvidia`,
    )
}

/** What driverctl reads when the device appears. */
export function driverctlFile(address: string, options: ChangeOptions): string {
  return join(options.etcRoot ?? '/etc', 'driverctl.d', `pci-${address}`)
}

/** What must hold before a driver releases a device, besides that nobody uses it. */
function refuseRelease(device: PciDevice, told: Remarks): void {
  if (isBridge(device))
    told.refusals.push({
      reason: 'host',
      what: `${device.address} is a bridge`,
      remedy: 'VFIO gives user space the devices behind a bridge; the bridge keeps its driver.',
    })
}

function refuseDriver(driver: string, device: PciDevice, told: Remarks, options: ChangeOptions): void {
  const isVfio = driver.includes('vfio')
  const unsafe = readModule('vfio', options)?.parameters.enable_unsafe_noiommu_mode === 'Y'
  if (isVfio && device.iommuGroup === null && !unsafe)
    told.refusals.push({
      reason: 'host',
      what: `${device.address} is in no IOMMU group: ${driver} would refuse it`,
      remedy: 'Turn the IOMMU on (vfio doctor explains how).',
    })
}

/** The driver for one device, with a refusal if the kernel does not have it. */
function driverFor(
  device: PciDevice,
  asked: string | undefined,
  told: Remarks,
  options: ChangeOptions,
): string {
  if (asked !== undefined) {
    const known = listNames(options.sysfsRoot ?? '/sys', 'bus', 'pci', 'drivers') ?? []
    if (!known.includes(asked))
      told.refusals.push({
        reason: 'host',
        what: `the driver ${asked} is not loaded`,
        remedy: `modprobe ${asked}`,
      })
    return asked
  }
  const { driver, module, alias, loaded } = chooseVfioDriver(device.sysfsPath, options)
  if (alias !== null) told.notes.push(`${driver} is made for ${device.address} (${alias})`)
  if (!loaded) {
    const other = alias === null ? '' : '; or use another driver: --driver vfio-pci'
    told.refusals.push({
      reason: 'host',
      what: `the driver ${driver} is not loaded`,
      remedy: `modprobe ${module}${other}`,
    })
  }
  return driver
}

/** The device, and with `group` those of its group that are to go with it. */
function chosen(device: PciDevice, group: boolean, options: ChangeOptions): PciDevice[] {
  if (!group || device.iommuGroup === null) return [device]
  const members = readIommuGroup(device.iommuGroup, options)?.members ?? []
  const others = members.flatMap((member) => {
    if (member.bus !== 'pci' || member.name === device.address || isVfioMember(member)) return []
    const other = readPciDevice(member.name, options)
    return other === null || isBridge(other) ? [] : [other]
  })
  return [device, ...others]
}

export function planBind(asked: Bind, options: ChangeOptions): Draft<Bind> {
  const group = boolean(asked.group ?? false, 'change.group')
  const persist = boolean(asked.persist ?? false, 'change.persist')
  if (asked.driver !== undefined && !/^[\w.-]+$/.test(string(asked.driver, 'change.driver')))
    throw new TypeError(`change.driver must be the name of a driver, not ${JSON.stringify(asked.driver)}`)
  const device = pciDevice(asked.device, 'change.device', options)
  const told = remarks()
  const devices = chosen(device, group, options)
  let main = ''
  const released: string[] = []
  const steps = devices.flatMap((each) => {
    const driver = driverFor(each, asked.driver, told, options)
    if (each === device) main = driver
    const own = bindSteps(each, driver, options)
    if (each.driver !== driver) {
      refuseRelease(each, told)
      refuseDriver(driver, each, told, options)
      warnOfStray(each, driver, told)
      released.push(each.sysfsPath)
    }
    if (!persist) return own
    const file = driverctlFile(each.address, options)
    return [...own, ...fileSteps(file, `${driver}\n`, 'driverctl does the same after a reboot')]
  })
  const nobody = persist ? unread('driverctl', driverctlFile(device.address, options), options) : null
  if (nobody !== null) told.warnings.push(nobody)
  refuseUses(released, told, options)
  const neighbours = neighboursOf(device, new Set(devices.map(({ address }) => address)), options)
  const blocking = neighbours.filter(({ blocks }) => blocks)
  if (blocking.length > 0)
    told.notes.push(
      `group ${device.iommuGroup ?? ''} cannot be opened while ` +
        blocking.map(({ name, driver }) => `${name} is on ${driver ?? ''}`).join(', ') +
        (group ? '' : ': --group binds them too'),
    )
  const others = devices.length > 1 ? `, with ${devices.length - 1} more of its group` : ''
  return {
    change: {
      kind: 'bind',
      device: device.address,
      ...(asked.driver === undefined ? {} : { driver: asked.driver }),
      group,
      persist,
    },
    devices: devices.map(({ address }) => address),
    summary: `bind ${device.address} to ${main}${others}`,
    steps,
    ...told,
    neighbours,
  }
}

/** Who is to have a device that goes back to the host: the driver that is made for it, or whichever wants it. */
function hostDriverFor(
  { address, sysfsPath, physfn }: PciDevice,
  told: Remarks,
  options: ChangeOptions,
): string {
  if (physfn !== null && readText(sysfsPath, 'physfn', 'sriov_drivers_autoprobe') === '0') {
    told.notes.push(
      `${physfn} keeps host drivers from binding to its virtual functions (sriov_drivers_autoprobe is 0)`,
    )
    return ANY
  }
  const known = hostDrivers(sysfsPath, options)
  const loaded = known.flatMap(({ driver }) => driver ?? [])
  const [only] = loaded
  if (only !== undefined && loaded.length === 1) return only
  if (loaded.length === 0 && known.length > 0)
    told.notes.push(
      `no driver for ${address} is loaded, so it will have none: ` +
        known.map(({ module }) => `modprobe ${module}`).join(', or '),
    )
  return ANY
}

export function planUnbind(asked: Unbind, options: ChangeOptions): Draft<Unbind> {
  const to = oneOf(asked.to ?? 'host', 'change.to', ['host', 'none'])
  const persist = boolean(asked.persist ?? false, 'change.persist')
  const device = pciDevice(asked.device, 'change.device', options)
  const { address, sysfsPath, driver, driverOverride } = device
  const told = remarks()
  // A device that a host driver has by itself is where it belongs.
  const there = to === 'none' ? driver === null && driverOverride === null : false
  const home = to === 'host' && driver !== null && driverOverride === null && !isHolder(driver)
  const next = there || home || to === 'none' ? null : hostDriverFor(device, told, options)
  const own = there || home ? [] : releaseSteps(device, next, options)
  if (own.length > 0) {
    refuseRelease(device, told)
    refuseUses([sysfsPath], told, options)
  }
  const file = fileSteps(driverctlFile(address, options), null, 'driverctl no longer binds it after a reboot')
  if (!persist && file.length > 0)
    told.notes.push(
      `driverctl has an entry for ${address}, which binds it again after a reboot: --persist removes it`,
    )
  return {
    change: { kind: 'unbind', device: address, to, persist },
    devices: [address],
    summary: `unbind ${address} from ${driver ?? 'no driver'}${to === 'host' ? ' and give it back to the host' : ''}`,
    steps: persist ? [...own, ...file] : own,
    ...told,
    neighbours: neighboursOf(device, new Set([address]), options),
  }
}
