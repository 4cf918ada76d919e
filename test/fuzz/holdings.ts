// What the process holds: descriptors, mappings, threads and pinned memory, counted before and after.
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'

export interface Count {
  descriptors: Record<string, number>
  /** What each counted descriptor leads to. */
  targets: string[]
  mappings: number
  threads: number
  /** KiB that are locked or pinned: type1 counts as the one, iommufd as the other. */
  pinned: number
}

export function count(): Count {
  // The first that matches counts: a machine's KVM-VFIO device is KVM's.
  const descriptors: Record<string, number> = {
    ...{ eventfd: 0, eventpoll: 0, memfd: 0 },
    ...{ kvm: 0, vfio: 0, iommu: 0, null: 0, 'socket:': 0, '/dri/': 0, dmabuf: 0 },
  }
  const targets: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      // A module that a Worker was ended in the middle of loading: Node's.
      if (target.startsWith('/') && !/^\/(dev|memfd:|dmabuf:)/.test(target)) continue
      // The guard's page, made with the first mapped region and kept: whether that was before the first count is chance.
      if (target.includes('memfd:node-vfio-ones')) continue
      const kind = Object.keys(descriptors).find((each) => target.includes(each))
      if (kind === undefined) continue
      descriptors[kind] = (descriptors[kind] ?? 0) + 1
      targets.push(target)
    } catch {
      // The listing's own.
    }
  }
  const maps = readFileSync('/proc/self/maps', 'utf8')
  // The addon's own text is mapped from a file that may have vfio in its name.
  const own = maps.match(/\.node$/gm)?.length ?? 0
  const status = readFileSync('/proc/self/status', 'utf8')
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0)
  return {
    descriptors,
    targets,
    mappings: (maps.match(/memfd:node-vfio|vfio|kvm-vcpu|\/dri\/card/g)?.length ?? 0) - own,
    threads: readdirSync('/proc/self/task').length,
    pinned: kilobytes('VmLck') + kilobytes('VmPin'),
  }
}

function excess(before: Count, after: Count): string[] {
  const found: string[] = []
  for (const [kind, number] of Object.entries(after.descriptors)) {
    const had = before.descriptors[kind] ?? 0
    if (number <= had) continue
    // Which they are, old ones among them: the numbers of descriptors are used again, and say nothing.
    const open = after.targets.filter((target) => target.includes(kind))
    found.push(`${number - had} descriptors (${kind}), among ${open.join(' ')}`)
  }
  if (after.mappings > before.mappings) found.push(`${after.mappings - before.mappings} mappings`)
  if (after.threads > before.threads) found.push(`${after.threads - before.threads} threads`)
  if (after.pinned > before.pinned) found.push(`${after.pinned - before.pinned} KiB of pinned memory`)
  return found
}

const TRIES = 200
const ROUNDS = 4

async function round(): Promise<void> {
  ;(globalThis as { gc?: () => void }).gc?.()
  await turn()
  await sleep(10)
}

/** Lets what is on its way to its end come to it. */
export async function calm(): Promise<void> {
  for (let i = 0; i < ROUNDS; i++) await round()
}

/** Waits until the process holds no more than before; gives what it still does. */
export async function settle(before: Count): Promise<string[]> {
  for (let i = 0; i < TRIES; i++) {
    await round()
    if (excess(before, count()).length === 0) return []
  }
  return excess(before, count())
}
