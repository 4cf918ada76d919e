// Shows a guest's memory to a device in its bus, as slots of it come and go. Knows files and addresses, nothing of the device.
import { openSync } from 'node:fs'

import { EIO, VfioError } from '../../errors.js'
import type { MemoryChange, MemorySlot, Vm } from '../../kvm/index.js'
import { GuestMemory } from '../../memory/guest-memory.js'
import { DMA_FLAG } from '../../vfio-user/protocol/constants.js'
import type { ServedDevice } from '../../vfio-user/server/served.js'
import { Windows } from '../../vfio-user/windows.js'

/** More slots than a machine has. */
const MOST_MAPS = 65_535

/** Nothing is reached by messages: there is nobody to send one to. */
function nobody(): Promise<never> {
  return Promise.reject(new VfioError(EIO, 'VFIO_USER_DMA_READ', { subject: 'a device without a socket' }))
}

/** @returns what takes the memory away again */
export function showMemory(vm: Vm, device: ServedDevice): () => void {
  const { memory } = device
  const change = ({ kind, slot }: MemoryChange): void => {
    if (kind === 'added') show(slot)
    else if (slot.memory instanceof GuestMemory)
      void memory.unmap({ flags: 0, iova: slot.guestAddress, size: BigInt(slot.size) })
  }
  // BARs that are mapped into the guest are not shown: devices here do not reach each other.
  const show = (slot: MemorySlot): void => {
    if (!(slot.memory instanceof GuestMemory)) return
    const flags = slot.readOnly ? DMA_FLAG.read : DMA_FLAG.read | DMA_FLAG.write
    const map = { flags, offset: BigInt(slot.offset), iova: slot.guestAddress, size: BigInt(slot.size) }
    // A descriptor of its own, which is closed once it is mapped.
    void memory.map(map, openSync(`/proc/self/fd/${slot.memory.fd}`, slot.readOnly ? 'r' : 'r+'))
  }
  void device.connect({
    windows: () => new Windows(),
    messages: { read: nobody, write: nobody },
    mostMaps: MOST_MAPS,
  })
  try {
    for (const slot of vm.memorySlots) show(slot)
    const listener = vm.onMemoryChange(change)
    return () => {
      listener.close()
      device.disconnect()
    }
  } catch (error) {
    device.disconnect()
    throw error
  }
}
