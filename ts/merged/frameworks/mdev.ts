// Mediated devices: the driver of the device, or of its virtual functions, divides it into devices of types.

import { type FrameworkRules, openableOf, stateOf, unknownHooks } from './framework.js'

export const mdev: FrameworkRules = {
  name: 'mdev',
  words: 'mediated devices',
  why({ mdevTypes }) {
    if (mdevTypes.length === 0) return null
    const kinds = new Set(mdevTypes.map(({ id }) => id)).size
    return `it offers ${kinds} mdev type${kinds === 1 ? '' : 's'}`
  },
  offers: () => true,
  state: (driver, { mdevTypes }) =>
    stateOf(
      driver,
      mdevTypes.reduce((sum, { devices }) => sum + devices.length, 0),
      mdevTypes.some(({ available }) => (available ?? 0) > 0),
    ),
  hooks: unknownHooks,
  openable: openableOf,
}
