// What was rung beside what was heard, bell by bell, and what the process held before and after.
import { memoryUsage } from 'node:process'

import { held } from '../unit/support.js'

export class Account {
  readonly heard: number[]

  constructor(bells: number) {
    this.heard = Array.from({ length: bells }, () => 0)
  }

  get total(): number {
    return this.heard.reduce((sum, count) => sum + count, 0)
  }

  hear(bell: number, count: number): void {
    this.heard[bell]! += count
  }
}

const MIB = 2 ** 20

/** Memory and descriptors now; the function returned says by how much they have grown since. */
export function holding(): () => { descriptors: number; mebibytes: number } {
  const descriptors = held().descriptors.length
  const { rss } = memoryUsage()
  return () => ({
    descriptors: held().descriptors.length - descriptors,
    mebibytes: Math.round((memoryUsage().rss - rss) / MIB),
  })
}
