// Virtual functions: how a physical function has them, and the steps that give it another number of them. It must not do the
// steps, nor decide whether they may be done.

import { join } from 'node:path'
import { array, object, string } from '../validate.js'
import { parseBdf } from './bdf.js'
import { overrideStep, unbindStep } from './bind.js'
import { checkHostOptions, readText, type HostOptions, sysfsRoot } from './sysfs.js'
import { type PciDevice, readPciDevice } from './pci.js'
import type { HostStep } from './step.js'

/** A physical function and its virtual ones. */
export interface SriovState {
  readonly physicalFunction: PciDevice
  readonly totalVfs: number
  readonly numVfs: number
  /** Whether host drivers take new virtual functions by themselves; null before Linux 4.13. */
  readonly autoprobe: boolean | null
  /** In their order; their addresses belong to others when they are gone. */
  readonly virtualFunctions: readonly PciDevice[]
}

/** What a physical function has; null for a device without SR-IOV. */
export function readSriov(physicalFunction: PciDevice, options: HostOptions = {}): SriovState | null {
  checkHostOptions(options)
  const { sriov, sysfsPath, virtfns } = object(physicalFunction, 'physicalFunction')
  if (sriov === null) return null
  object(sriov, 'physicalFunction.sriov')
  string(sysfsPath, 'physicalFunction.sysfsPath')
  for (const address of array(virtfns, 'physicalFunction.virtfns')) parseBdf(address)
  const autoprobe = readText(sysfsPath, 'sriov_drivers_autoprobe')
  return {
    physicalFunction,
    ...sriov,
    autoprobe: autoprobe === null ? null : autoprobe !== '0',
    virtualFunctions: virtfns
      .map((address) => readPciDevice(address, options))
      .filter((device) => device !== null),
  }
}

/** Another text in an attribute of a folder. */
export function attributeStep(
  path: string,
  name: string,
  values: readonly [string, string],
  why: string,
): HostStep {
  const file = join(path, name)
  const [old, text] = values
  return {
    write: { file, text },
    look: { how: 'text', path: file },
    old,
    new: text,
    why,
    undo: { file, text: old },
  }
}

/**
 * Another number of virtual functions, through 0 as the kernel wants it. Those that are there are unbound first, and
 * `sriov_drivers_autoprobe` is set in between: undone in reverse, they come back without a driver and get what
 * they had.
 */
export function sriovSteps(
  state: SriovState,
  numVfs: number,
  autoprobe: boolean,
  options: HostOptions = {},
): HostStep[] {
  const { physicalFunction, numVfs: now, virtualFunctions } = state
  if (numVfs === now) return []
  const path = join(sysfsRoot(options), 'bus', 'pci', 'devices', physicalFunction.address)
  const steps: HostStep[] = []
  for (const device of virtualFunctions) {
    const { driver, driverOverride, address } = device
    if (driver !== null)
      steps.push(
        unbindStep({ ...device, driver }, `${driver} releases ${address}, which will be removed`, options),
      )
    if (driverOverride !== null)
      steps.push(overrideStep(device, null, 'the next device at this address must not inherit it', options))
  }
  let probing = state.autoprobe
  const probe = (on: boolean | null, why: string): void => {
    if (probing === null || on === null || probing === on) return
    steps.push(attributeStep(path, 'sriov_drivers_autoprobe', [probing ? '1' : '0', on ? '1' : '0'], why))
    probing = on
  }
  const set = (from: number, to: number, why: string): HostStep =>
    attributeStep(path, 'sriov_numvfs', [String(from), String(to)], why)
  if (now > 0) {
    probe(false, 'if they come back, no host driver takes them before they are restored')
    steps.push(set(now, 0, numVfs > 0 ? 'the number changes via 0 only' : 'they are removed'))
  }
  if (numVfs === 0) probe(state.autoprobe, 'as it was')
  else {
    probe(
      autoprobe,
      autoprobe ? 'host drivers take the new functions' : 'no host driver takes the new functions',
    )
    steps.push(set(0, numVfs, `${numVfs} virtual function${numVfs === 1 ? '' : 's'} appear`))
  }
  return steps
}
