// Virtual functions of NVIDIA's vGPU host driver. The driver has no sriov_configure: the functions come while pci-pf-stub has the
// GPU, all at once, and are NVIDIA's again afterwards. It must not do the steps, nor decide whether they may be done.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { formatBdf, parseBdf } from './bdf.js'
import { giveStep, overrideStep, probeStep, unbindStep } from './bind.js'
import type { PciDevice } from './pci.js'
import { attributeStep, type SriovState } from './sriov.js'
import type { HostStep } from './step.js'
import { type HostOptions, procRoot, readUnsigned, sysfsRoot } from './sysfs.js'

/** The driver that makes virtual functions of a device and does nothing else with it. */
export const STUB = 'pci-pf-stub'
const NVIDIA = 'nvidia'

/** What the steps rely on. */
export interface NvidiaVfMeans {
  /** Whether pci-pf-stub is registered. */
  readonly stub: boolean
  /** Where NVIDIA's driver is asked to let nobody new open the GPU; null if it has no such file. */
  readonly lock: string | null
  /** Addresses of the functions that will be there, in their order; null if the kernel does not tell. */
  readonly addresses: readonly string[] | null
}

/** Addresses by the offset and the stride of the SR-IOV capability, which count in functions. */
function addressesOf({ address, sysfsPath, sriov }: PciDevice): string[] | null {
  const offset = readUnsigned(0xffff, sysfsPath, 'sriov_offset')
  const stride = readUnsigned(0xffff, sysfsPath, 'sriov_stride')
  if (offset === null || stride === null || sriov === null) return null
  const { domain, bus, device, function: fn } = parseBdf(address)
  const first = (bus << 8) + (device << 3) + fn + offset
  const last = first + stride * (sriov.totalVfs - 1)
  if (last > 0xffff) return null
  return Array.from({ length: sriov.totalVfs }, (_each, index) => {
    const id = first + stride * index
    return formatBdf({ domain, bus: id >> 8, device: (id >> 3) & 0x1f, function: id & 7 })
  })
}

export function readNvidiaVfMeans(pf: PciDevice, options: HostOptions = {}): NvidiaVfMeans {
  const lock = join(procRoot(options), 'driver', NVIDIA, 'gpus', pf.address, 'unbindLock')
  return {
    stub: existsSync(join(sysfsRoot(options), 'bus', 'pci', 'drivers', STUB)),
    lock: existsSync(lock) ? lock : null,
    addresses: addressesOf(pf),
  }
}

/**
 * From no virtual functions to all of them, or back. The override, and not pci-pf-stub's list of ids, gives it the GPU: the functions
 * have the GPU's own id, and pci-pf-stub would take them too.
 */
export function nvidiaVfSteps(
  { physicalFunction: pf, numVfs: now, totalVfs, autoprobe, virtualFunctions }: SriovState,
  on: boolean,
  means: { readonly lock: string; readonly addresses: readonly string[] },
  options: HostOptions = {},
): HostStep[] {
  const { address } = pf
  const path = join(sysfsRoot(options), 'bus', 'pci', 'devices', address)
  const stubbed = { ...pf, driver: STUB, driverOverride: STUB }
  const number = (from: number, to: number, why: string): HostStep =>
    attributeStep(path, 'sriov_numvfs', [String(from), String(to)], why)
  const probing = (usual: boolean, [from, to]: readonly ['0', '1'] | readonly ['1', '0'], why: string) =>
    autoprobe === usual ? [attributeStep(path, 'sriov_drivers_autoprobe', [from, to], why)] : []
  const released = virtualFunctions.flatMap((vf) =>
    vf.driver === null
      ? []
      : [unbindStep({ ...vf, driver: vf.driver }, `${vf.driver} releases ${vf.address}`, options)],
  )
  const given = means.addresses.map((each) =>
    giveStep(
      { address: each, sysfsPath: join(path, '..', each), driver: null, driverOverride: null },
      NVIDIA,
      options,
    ),
  )
  return [
    ...(on ? [] : released),
    attributeStep(join(means.lock, '..'), 'unbindLock', ['0', '1'], 'nobody new may open the GPU'),
    unbindStep({ ...pf, driver: NVIDIA }, `${NVIDIA} releases ${address}`, options),
    overrideStep(pf, STUB, `only ${STUB} may take ${address}`, options),
    probeStep(pf, STUB, `${STUB} takes ${address}`, options),
    ...probing(true, ['1', '0'], `no driver takes the functions while ${NVIDIA} has not the GPU`),
    on ? number(now, totalVfs, `${totalVfs} virtual functions appear`) : number(now, 0, 'they are removed'),
    unbindStep(stubbed, `${STUB} releases ${address}`, options),
    overrideStep({ ...stubbed, driver: null }, pf.driverOverride, 'as it was', options),
    giveStep({ ...pf, driver: null }, NVIDIA, options),
    ...probing(true, ['0', '1'], 'as it was'),
    // Without it the kernel refuses a function any driver, one that is named too.
    ...(on
      ? [
          ...probing(false, ['0', '1'], `${NVIDIA} may take the functions`),
          ...given,
          ...probing(false, ['1', '0'], 'as it was'),
        ]
      : []),
  ]
}
