// Whether a driver makes virtual functions when `sriov_numvfs` is written. That a device has SR-IOV does not say so: the kernel
// calls the driver's sriov_configure, and answers ENOENT where it has none. sysfs does not show whether it has; what is known of
// drivers is here. It must not know what the functions are for.

import { readModule } from './modules.js'
import type { PciDevice } from './pci.js'
import type { HostOptions } from './sysfs.js'

/** What is known of writing `sriov_numvfs` for a device, as its driver and that driver's parameters are now. */
export interface VfMaking {
  readonly answer: 'yes' | 'no' | 'cannot-tell'
  readonly why: string
  /** What makes them, or lets the driver make them; null where there is nothing to do, or nothing known. */
  readonly remedy: string | null
  /** The vendor's own tool, where it is what makes them and the driver is the one for it. */
  readonly tool: string | null
}

type Facts = Pick<PciDevice, 'address' | 'driver' | 'sriov'>
type Rule = (device: Facts, options: HostOptions) => VfMaking

const yes = (why: string): VfMaking => ({ answer: 'yes', why, remedy: null, tool: null })
const no = (why: string, remedy: string | null = null, tool: string | null = null): VfMaking => ({
  answer: 'no',
  why,
  remedy,
  tool,
})

const none =
  (remedy: string | null = null): Rule =>
  ({ address, driver }) =>
    no(
      `${address} is on ${driver ?? 'no driver'}, which has no sriov_configure: writing sriov_numvfs fails with ENOENT`,
      remedy,
    )

/** A driver that has it where the module was built with the parameter that bounds it. */
const bounded =
  (parameter: string, absent: string): Rule =>
  ({ address, driver, sriov }, options) => {
    const parameters = readModule(driver ?? '', options)?.parameters ?? {}
    if (!Object.hasOwn(parameters, parameter))
      return no(
        `${address} is on ${driver ?? ''}, whose module has no parameter ${parameter}: this build creates no virtual functions`,
        absent,
      )
    // Those that are there show more than a parameter does.
    if (parameters[parameter] === '0' && sriov?.numVfs === 0)
      return no(
        `${address} is on ${driver ?? ''} with ${parameter}=0, which creates no virtual functions`,
        `Load ${driver ?? ''} with ${parameter} above 0.`,
      )
    return yes(`the module ${driver ?? ''} has the parameter ${parameter}`)
  }

const nvidia: Rule = ({ address }, options) => {
  const tool = `/usr/lib/nvidia/sriov-manage -e ${address}`
  const isHost = readModule('nvidia_vgpu_vfio', options) !== null
  return no(
    `${address} is on nvidia, which has no sriov_configure: writing sriov_numvfs fails with ENOENT`,
    isHost
      ? `They come all at once, via pci-pf-stub: vfio sriov set ${address} N with all of them, or the tool of NVIDIA's vGPU host driver: sudo ${tool} (-d removes them).`
      : `Only NVIDIA's vGPU host driver has virtual functions, and its tool sriov-manage creates them; this is a different driver (there is no module nvidia_vgpu_vfio).`,
    isHost ? tool : null,
  )
}

const vfioPci: Rule = ({ address }, options) =>
  readModule('vfio_pci', options)?.parameters.enable_sriov === 'Y'
    ? yes('vfio_pci.enable_sriov is on')
    : no(
        `${address} is on vfio-pci, which creates no virtual functions (vfio_pci.enable_sriov is off)`,
        'Load vfio_pci with enable_sriov=1, or leave the physical function on its host driver.',
      )

const KEEPS = 'It only reserves the device: bind the device to its host driver or to pci-pf-stub.'

/** By the driver's name in sysfs. */
const RULES: Readonly<Record<string, Rule>> = {
  nvidia,
  nouveau: none("nouveau cannot share a GPU with guests; vGPU needs NVIDIA's vGPU host driver."),
  NovaCore: none("nova-core cannot share a GPU with guests; vGPU needs NVIDIA's vGPU host driver."),
  'nova-core': none("nova-core cannot share a GPU with guests; vGPU needs NVIDIA's vGPU host driver."),
  amdgpu: none("On the cards it supports, AMD's GIM creates them, in place of amdgpu."),
  radeon: none(),
  gim: none(
    'GIM creates them when it is loaded, as many as its parameter vf_num says: load it with another value.',
  ),
  i915: bounded(
    'max_vfs',
    "SR-IOV of i915 is only in Intel's own trees and in i915-sriov-dkms; upstream it is in xe, on the GPUs that xe supports.",
  ),
  xe: bounded('max_vfs', 'xe has SR-IOV since Linux 6.12, on most GPUs since 6.17 or 7.0.'),
  'vfio-pci': vfioPci,
  'pci-pf-stub': () => yes('pci-pf-stub is made for it'),
  'pci-stub': none(KEEPS),
  pciback: none(KEEPS),
  'xen-pciback': none(KEEPS),
  uio_pci_generic: none(KEEPS),
}

/** What is known of making virtual functions of a device; null for one without SR-IOV. */
export function vfMaking(device: Facts, options: HostOptions = {}): VfMaking | null {
  const { address, driver, sriov } = device
  if (sriov === null) return null
  if (driver === null)
    return no(
      `${address} has no driver, and virtual functions are created by the driver`,
      `Bind it first: vfio unbind ${address} gives it back to its host driver.`,
    )
  const rule = Object.hasOwn(RULES, driver) ? RULES[driver] : undefined
  if (rule !== undefined) return rule(device, options)
  if (driver.includes('vfio'))
    return none('Only vfio-pci creates them, with enable_sriov=1.')(device, options)
  if (sriov.numVfs > 0) return yes(`${driver} has created ${sriov.numVfs}`)
  return {
    answer: 'cannot-tell',
    why: `the kernel does not report whether ${driver} creates virtual functions; only writing sriov_numvfs shows it`,
    remedy: null,
    tool: null,
  }
}
