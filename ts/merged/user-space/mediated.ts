// Mediated by this package: a virtio-gpu in user space, in 2D, whose pictures are on the host's card.

import type { Installed } from './installed.js'
import { no, type WayRules, yes } from './way.js'

/** Which VMM can be the device's client; null if none is there. */
function clientOf({ qemu, cloudHypervisor, kvm }: Installed): string | null {
  if (qemu?.vfioUser === true) return `${qemu.path} (vfio-user-pci)`
  if (cloudHypervisor !== null) return `${cloudHypervisor} (--user-device)`
  return kvm ? 'a Vm of this package (/dev/kvm)' : null
}

export const mediated: WayRules = {
  name: 'mediated-2d',
  judge({ hostNodes: { cards, connectors }, installed }) {
    const card = cards[0]
    if (card === undefined)
      return no('the host has no card of it (/dev/dri/cardN), on which pictures could be')
    if (connectors.length === 0) return no(`${card} has no connector: nothing is shown by it`)
    const client = clientOf(installed)
    if (client === null)
      return no('there is no client for it: no QEMU with vfio-user-pci, no cloud-hypervisor, no /dev/kvm')
    const copies = installed.udmabuf
      ? "guests' memory can be shown without a copy (/dev/udmabuf)"
      : 'pictures are copied once (there is no /dev/udmabuf)'
    return yes(`MediatedGpu on ${card}, for ${client}; ${copies}`)
  },
}
