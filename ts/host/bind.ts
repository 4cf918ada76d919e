// The steps that give a PCI device to a driver and take it away, through driver_override. It must not do them, nor decide
// whether they may be done.

import { join } from 'node:path'
import { registeredHolders } from './host-driver.js'
import type { PciDevice } from './pci.js'
import { ANY, type HostStep } from './step.js'
import { type HostOptions, sysfsRoot } from './sysfs.js'

type Bound = Pick<PciDevice, 'address' | 'sysfsPath' | 'driver' | 'driverOverride'>

const driverFile = (driver: string, name: string, options: HostOptions): string =>
  join(sysfsRoot(options), 'bus', 'pci', 'drivers', driver, name)

const driverOf = ({ address }: Bound, options: HostOptions) =>
  ({ how: 'link', path: join(sysfsRoot(options), 'bus', 'pci', 'devices', address, 'driver') }) as const

/** Takes the device from its driver. `bind` of that driver takes it back, and no other. */
export function unbindStep(device: Bound & { driver: string }, why: string, options: HostOptions): HostStep {
  const { address, driver } = device
  return {
    write: { file: driverFile(driver, 'unbind', options), text: address },
    look: driverOf(device, options),
    old: driver,
    new: null,
    why,
    undo: { file: driverFile(driver, 'bind', options), text: address },
  }
}

/** Sets the only driver that may have the device; null lets any. */
export function overrideStep(
  device: Bound,
  driver: string | null,
  why: string,
  options: HostOptions,
): HostStep {
  const file = join(sysfsRoot(options), 'bus', 'pci', 'devices', device.address, 'driver_override')
  return {
    // An empty line clears it.
    write: { file, text: driver ?? '' },
    look: { how: 'text', path: file },
    old: device.driverOverride,
    new: driver,
    why,
    undo: { file, text: device.driverOverride ?? '' },
  }
}

/** Asks for a driver. The write succeeds although nothing bound, hence the look at the driver. */
export function probeStep(device: Bound, driver: string, why: string, options: HostOptions): HostStep {
  const { address } = device
  return {
    write: { file: join(sysfsRoot(options), 'bus', 'pci', 'drivers_probe'), text: address },
    look: driverOf(device, options),
    old: null,
    new: driver,
    why,
    // Of whichever has got it, also where that is another than was asked for.
    undo: { file: driverFile('*', 'unbind', options), text: address },
  }
}

/** Asks for any driver but one that only holds devices: one that has the device's id on its list would take it again. */
function probeAnyStep(device: Bound, options: HostOptions): HostStep {
  const step = probeStep(device, ANY, 'a host driver takes it, if there is one', options)
  const never = registeredHolders(options)
  return never.length === 0 ? step : { ...step, never }
}

/** Gives a device without a driver to one that is made for it. */
export function giveStep(device: Bound, driver: string, options: HostOptions): HostStep {
  return {
    ...probeStep(device, driver, `${driver}, the driver made for it, takes ${device.address}`, options),
    write: { file: driverFile(driver, 'bind', options), text: device.address },
  }
}

/**
 * From whatever has the device to `driver`. The override comes after the unbinding: undone in reverse, it is gone
 * when the old driver binds, which the kernel would refuse otherwise.
 */
export function bindSteps(device: Bound, driver: string, options: HostOptions = {}): HostStep[] {
  const { driver: old, driverOverride, address } = device
  if (old === driver && driverOverride === driver) return []
  const override =
    driverOverride === driver
      ? []
      : [overrideStep(device, driver, `only ${driver} may take ${address}`, options)]
  if (old === driver) return override
  return [
    ...(old === null ? [] : [unbindStep({ ...device, driver: old }, `${old} releases ${address}`, options)]),
    ...override,
    probeStep(device, driver, `${driver} takes ${address}`, options),
  ]
}

/** Where a device goes: `null` leaves it without a driver, `ANY` asks for whichever host driver wants it. */
export type Destination = string | null

/** Away from its driver, to a driver of the host. */
export function releaseSteps(device: Bound, to: Destination, options: HostOptions = {}): HostStep[] {
  const { driver, driverOverride, address } = device
  const steps: HostStep[] = []
  if (driver !== null) steps.push(unbindStep({ ...device, driver }, `${driver} releases ${address}`, options))
  if (driverOverride !== null)
    steps.push(overrideStep(device, null, `any driver may take ${address} again`, options))
  if (to === ANY) steps.push(probeAnyStep(device, options))
  else if (to !== null) steps.push(giveStep(device, to, options))
  return steps
}
