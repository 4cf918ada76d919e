// What the file of a way says of a device: whether its guests can have a virtual GPU so, that a process of the host makes for them.
// The files beside this one are the ways, ./index.ts is their table.

import type { HostNodes } from '../facts.js'
import type { UserSpaceAnswer, UserSpaceWay } from '../types.js'
import type { Installed } from './installed.js'

/** What the rules of a way look at. */
export interface WayFacts {
  readonly driver: string | null
  readonly hostNodes: HostNodes
  readonly kernelRelease: string | null
  readonly installed: Installed
}

export interface WayRules {
  readonly name: UserSpaceWay
  readonly judge: (facts: WayFacts) => UserSpaceAnswer
}

export const yes = (why: string): UserSpaceAnswer => ({ answer: 'yes', why })
export const no = (why: string): UserSpaceAnswer => ({ answer: 'no', why })
export const cannotTell = (why: string): UserSpaceAnswer => ({ answer: 'cannot-tell', why })
