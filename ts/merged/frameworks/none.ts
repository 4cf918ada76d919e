// A device that is not shared: nothing of it can be given to guests, unless the vendor's own tool makes virtual functions first.

import { type FrameworkRules, sameHooks } from './framework.js'

export const NOTHING = 'it offers neither mdev types nor usable virtual functions'

export const none: FrameworkRules = {
  name: 'none',
  words: 'nothing',
  why: () => NOTHING,
  offers: ({ tool }) => tool !== null,
  state: (driver, { tool }) =>
    tool === null
      ? { state: 'no', why: 'nothing of it can be given to guests' }
      : {
          state: 'possible',
          why: `${driver ?? 'its driver'} serves the host, and guests could have some after: ${tool}`,
        },
  hooks: () => sameHooks('no', 'there is nothing to signal a guest'),
  openable: () => [],
}
