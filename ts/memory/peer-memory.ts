// What an address space needs to know of a device's own memory to give other devices a way to it. Regions are made of it:
// this folder knows nothing of devices.
import type { VfioError, VfioErrorContext } from '../errors.js'
import type { NativeHandle } from '../native/index.js'

/** Memory that is a device's own: a region, as far as it is mapped in this process. */
export abstract class PeerMemory {
  /** Bytes. */
  abstract readonly size: number
  /** @internal */
  abstract get native(): NativeHandle
  /** Whether a range is mapped in one piece. */
  abstract isMapped(offset: number, width: number): boolean
}

/** What a refusal to map it means. */
export function peerContext({ code }: VfioError): VfioErrorContext {
  if (code === 'EFAULT') {
    return {
      reason: 'peer-memory',
      remedy:
        'A VFIO container takes a region whose device decodes memory accesses (config.command.memorySpace). iommufd and its containers cannot map a BAR by address: map device.features.dmaBuf(region) with mapFile() (Linux 6.19).',
    }
  }
  if (code === 'EIO') {
    return { reason: 'peer-memory', remedy: 'The region stopped answering: region.remap() first.' }
  }
  return {}
}
