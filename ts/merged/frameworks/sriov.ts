// Virtual functions that VFIO's own drivers give to guests.

import { type FrameworkRules, openableOf, stateOf, unknownHooks } from './framework.js'

const WHY = 'vfio-pci and its variants have it'

export const sriov: FrameworkRules = {
  name: 'sriov',
  words: 'virtual functions',
  why({ functions, usableVfs }) {
    if (usableVfs === 0) return null
    return functions.length > 0
      ? `it has ${functions.length} of ${usableVfs} virtual functions`
      : `sriov_totalvfs is ${usableVfs}`
  },
  offers: () => true,
  // A virtual function that exists is a guest's once a VFIO driver has it; on a driver of the host it is the host's.
  state: (driver, { functions, usableVfs, activeVfs, maySet }) =>
    stateOf(
      driver,
      functions.filter(({ onVfio }) => onVfio).length,
      (maySet && activeVfs < usableVfs) || functions.some(({ onVfio }) => !onVfio),
    ),
  hooks: ({ functions }) =>
    functions.some(({ onVfio }) => onVfio)
      ? [
          { hook: 'irqfd', answer: 'yes', why: `${WHY} (VFIO_DEVICE_SET_IRQS)` },
          { hook: 'ioeventfd', answer: 'yes', why: `${WHY} (VFIO_DEVICE_IOEVENTFD)` },
          {
            hook: 'level',
            answer: 'no',
            why: 'a virtual function has no interrupt pin (PCI Express, SR-IOV)',
          },
        ]
      : unknownHooks(),
  openable: openableOf,
}
