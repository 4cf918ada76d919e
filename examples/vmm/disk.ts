// A file as the guest's disk: virtio-blk in a slot of the machine's own PCI bus.
import { closeSync, openSync } from 'node:fs'
import { lineOf, PluggedDevice } from 'node-vfio/vmm'
import { VirtioDisk } from '../devices/virtio-blk.js'
import type { Machine } from './machine.js'

/** Where the guest finds it on bus 0. */
const SLOT = 2

/** @returns what takes it out again */
export function plugDisk({ vm, bus, pci, poller }: Machine, path: string): () => void {
  const onError = (error: unknown): void => {
    console.error(error)
  }
  const fd = openSync(path, 'r+')
  try {
    const { device } = new VirtioDisk({ fd, onError })
    const plugged = new PluggedDevice(vm, bus, device, { gsi: lineOf(SLOT, 1), poller, onError })
    pci.plug(SLOT, plugged)
    return () => {
      plugged.close()
      closeSync(fd)
    }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
