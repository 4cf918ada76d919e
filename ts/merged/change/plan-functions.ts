// Plans for virtual functions: how many a physical one has, and which vGPU one of NVIDIA's is.

import { readSriov, sriovSteps } from '../../host/sriov.js'
import { vfMaking } from '../../host/vf-making.js'
import { readVfRoom } from '../../host/vf-room.js'
import type { PciDevice } from '../../host/pci.js'
import { planNvidiaVfs } from './plan-nvidia-vfs.js'
import { readVgpu, vgpuSteps } from '../../host/vgpu.js'
import { boolean, integer } from '../../validate.js'
import { type Draft, invalid, pciDevice, refuseUses, type Remarks, remarks } from './draft.js'
import type { ChangeOptions, HostChange } from './types.js'

type Sriov = Extract<HostChange, { kind: 'sriov' }>
type Vgpu = Extract<HostChange, { kind: 'vgpu' }>

const plural = (count: number): string => `${count} virtual function${count === 1 ? '' : 's'}`

/** What the register of an SR-IOV capability can hold; a device has a bound of its own. */
const MOST_VFS = 0xffff

/** What the kernel would only say after the old functions are gone. */
function checkRoom(device: PciDevice, numVfs: number, { refusals, warnings }: Remarks): void {
  const { most, lastBus, unassigned } = readVfRoom(device)
  const { address } = device
  if (most !== null && lastBus !== null && numVfs > most)
    refusals.push({
      reason: 'host',
      what: `${address} has bus numbers for ${plural(most)} only: the bridge above it ends at bus 0x${lastBus.toString(16).padStart(2, '0')}`,
      remedy:
        most > 0
          ? `Take ${most} at most, turn on ARI or SR-IOV in the firmware, or boot with pci=assign-busses.`
          : 'Turn on ARI or SR-IOV in the firmware, or boot with pci=assign-busses.',
    })
  if (numVfs > 0 && unassigned.length > 0)
    warnings.push(
      `BAR ${unassigned.join(', ')} of the virtual functions of ${address} has no address: turn on Above 4G Decoding and SR-IOV in the firmware, or boot with pci=realloc`,
    )
}

export function planSriov(asked: Sriov, options: ChangeOptions): Draft<Sriov> {
  integer(asked.numVfs, 'change.numVfs', 0, MOST_VFS)
  if (asked.autoprobe !== undefined) boolean(asked.autoprobe, 'change.autoprobe')
  const device = pciDevice(asked.device, 'change.device', options)
  const { address, driver, physfn } = device
  const state = readSriov(device, options)
  if (state === null)
    throw invalid(
      address,
      physfn === null
        ? 'It has no SR-IOV capability, or the platform does not let it be used.'
        : `It is itself a virtual function, of ${physfn}.`,
    )
  const { totalVfs, numVfs: now, virtualFunctions } = state
  const numVfs = integer(asked.numVfs, 'change.numVfs', 0, totalVfs)
  const autoprobe = boolean(asked.autoprobe ?? driver === 'nvidia', 'change.autoprobe')
  const told = remarks()
  const making = vfMaking(device, options)
  // NVIDIA's functions come by way of another driver, where its vGPU host driver is.
  const isVgpuHost = driver === 'nvidia' && (making?.tool ?? null) !== null
  const steps = isVgpuHost
    ? planNvidiaVfs(state, numVfs, told, options)
    : sriovSteps(state, numVfs, autoprobe, options)
  if (steps.length > 0) {
    if (making?.answer === 'no' && !isVgpuHost)
      told.refusals.push({
        reason: 'host',
        what: making.why,
        remedy: making.remedy ?? 'Bind the physical function to a driver that creates them.',
      })
    refuseUses(
      virtualFunctions.map(({ sysfsPath }) => sysfsPath),
      told,
      options,
    )
    for (const vf of virtualFunctions) {
      const vgpu = readVgpu(vf.sysfsPath)
      if (vgpu !== null && vgpu.current !== 0)
        told.refusals.push({
          reason: 'host',
          what: `${vf.address} is a vGPU of type ${vgpu.current}`,
          remedy: `Destroy it first: vfio vgpu ${vf.address} 0`,
        })
    }
    checkRoom(device, numVfs, told)
    if (now > 0)
      told.warnings.push(
        `the ${plural(now)} of ${address} are removed; settings outside sysfs (MAC addresses, VLANs, rates) are not restored by an undo`,
      )
    if (numVfs > 0 && state.autoprobe === null)
      told.notes.push('this kernel has no sriov_drivers_autoprobe: host drivers may bind to the new ones')
  }
  return {
    change: { kind: 'sriov', device: address, numVfs, autoprobe },
    devices: [address, ...virtualFunctions.map((each) => each.address)],
    summary: `give ${address} ${plural(numVfs)} (it has ${now} of ${totalVfs})`,
    steps,
    ...told,
    neighbours: [],
  }
}

export function planVgpu(asked: Vgpu, options: ChangeOptions): Draft<Vgpu> {
  const type = integer(asked.type, 'change.type', 0, 0xffff_ffff)
  const device = pciDevice(asked.device, 'change.device', options)
  const { address, sysfsPath } = device
  const state = readVgpu(sysfsPath)
  if (state === null)
    throw invalid(
      address,
      "It is not a virtual function of NVIDIA's vGPU driver (no nvidia/creatable_vgpu_types): create virtual functions first.",
    )
  const told = remarks()
  const steps = vgpuSteps(sysfsPath, state.current, type)
  const name = state.creatable.find(({ id }) => id === type)?.name
  if (steps.length > 0) {
    refuseUses([sysfsPath], told, options)
    // While it is a vGPU the list says what its siblings could become beside it: only after its destruction what it could.
    if (type !== 0 && state.current === 0 && name === undefined)
      told.refusals.push({
        reason: 'host',
        what: `${address} cannot become a vGPU of type ${type} now`,
        remedy:
          state.creatable.length === 0
            ? "It cannot become any: its siblings use all the capacity. Types of GPU instances (MIG) need an instance first, which only NVIDIA's nvidia-smi creates (nvidia-smi mig -cgi)."
            : `It can become ${state.creatable.map(({ id, name: each }) => `${id} (${each})`).join(', ')}.`,
      })
    if (state.current !== 0)
      told.warnings.push(`the vGPU of type ${state.current} on ${address} is destroyed`)
  }
  return {
    change: { kind: 'vgpu', device: address, type },
    devices: [address],
    summary:
      type === 0
        ? `destroy the vGPU on ${address}`
        : `make ${address} a vGPU of type ${type}${name === undefined ? '' : ` (${name})`}`,
    steps,
    ...told,
    neighbours: [],
  }
}
