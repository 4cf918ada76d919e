// Plans for the virtual functions of NVIDIA's vGPU host driver, as the driver's own tool makes them.

import { nvidiaVfSteps, readNvidiaVfMeans, STUB } from '../../host/nvidia-vfs.js'
import type { SriovState } from '../../host/sriov.js'
import type { HostStep } from '../../host/step.js'
import { refuseUses, type Remarks } from './draft.js'
import type { ChangeOptions } from './types.js'

/** Steps to all of the virtual functions, or to none; none and a reason where they cannot be made. */
export function planNvidiaVfs(
  state: SriovState,
  numVfs: number,
  told: Remarks,
  options: ChangeOptions,
): HostStep[] {
  const { physicalFunction: pf, totalVfs, numVfs: now } = state
  const { address } = pf
  if (numVfs === now) return []
  const tool = `NVIDIA's own tool does it too: sudo /usr/lib/nvidia/sriov-manage -${numVfs > 0 ? 'e' : 'd'} ${address}`
  const refuse = (what: string, remedy: string): void => {
    told.refusals.push({ reason: 'host', what, remedy: `${remedy} ${tool}` })
  }
  const { stub, lock, addresses } = readNvidiaVfMeans(pf, options)
  if (numVfs !== 0 && numVfs !== totalVfs)
    refuse(
      `writing sriov_numvfs on nvidia, which has no sriov_configure, fails with ENOENT; its functions come all at once`,
      `Ask for all of them: vfio sriov set ${address} ${totalVfs}.`,
    )
  if (numVfs !== 0 && now !== 0)
    refuse(
      `${address} has ${now} of ${totalVfs} virtual functions`,
      `Remove them first: vfio sriov set ${address} 0.`,
    )
  if (!stub)
    refuse(`they come while ${STUB} has the GPU, and that driver is not there`, `Load it: modprobe ${STUB}.`)
  if (lock === null)
    refuse(
      `NVIDIA's driver has no /proc/driver/nvidia/gpus/${address}/unbindLock, by which it lets the GPU go`,
      'Only its own tool knows another way.',
    )
  if (addresses === null)
    refuse(
      'the kernel does not tell which addresses the functions will have',
      'Only its own tool knows another way.',
    )
  // The functions that go are looked at by themselves.
  refuseUses([pf.sysfsPath], told, options, 'functions')
  if (lock === null || addresses === null) return []
  told.warnings.push(`the host loses the GPU ${address} for as long as it takes`)
  told.notes.push(
    'nvidia-vgpud and nvidia-vgpu-mgr have to run again afterwards: restart them if you stopped them for this',
  )
  return nvidiaVfSteps(state, numVfs > 0, { lock, addresses }, options)
}
