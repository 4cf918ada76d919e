// Map and unmap do not become slower with the number of mappings, and leave nothing: 60,000 of them, spread thinly over
// 16 GiB of addresses, and as many where the address space chooses.
import { readFileSync } from 'node:fs'
import test from 'ava'

import { type AddressSpace, GuestMemory, type IommuType } from '../../ts/index.js'
import { holdings, rig, withDevice } from './devices.js'

const MAPPINGS = 60_000
const ENDS = 1000
const WARM_UP = 3000
const MOST_TIMES_SLOWER = 1.4
const ROUNDS = 3
const PAGE = 4096
const BASE = 0x1_0000_0000n
const SPAN = 16n << 30n
/** Bytes from one mapping to the next, in whole pages. */
const STRIDE = (SPAN / BigInt(MAPPINGS) / BigInt(PAGE)) * BigInt(PAGE)

const MODES: IommuType[] = rig.built ? ['type1v2', 'iommufd'] : ['type1v2']

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1] ?? 0

/** Microseconds of the first and the last calls. */
function timed(call: (i: number) => void): { first: number; last: number } {
  const times: number[] = []
  for (let i = 0; i < MAPPINGS; i++) {
    const before = performance.now()
    call(i)
    times.push((performance.now() - before) * 1000)
  }
  return { first: median(times.slice(0, ENDS)), last: median(times.slice(-ENDS)) }
}

/** Pages of this process that the kernel has pinned or locked. */
const pinned = (): string[] => readFileSync('/proc/self/status', 'utf8').match(/^Vm(Pin|Lck):.*$/gm) ?? []

interface Placement {
  name: string
  iova: (i: number) => bigint | undefined
}

const PLACEMENTS: Placement[] = [
  { name: 'spread over 16 GiB', iova: (i) => BASE + BigInt(i) * STRIDE },
  { name: 'where the space chooses', iova: () => undefined },
]

function fill(
  space: AddressSpace,
  memory: GuestMemory,
  { iova }: Placement,
  iovas: bigint[],
): { first: number; last: number } {
  const pages = memory.size / PAGE
  return timed((i) => {
    const wanted = iova(i)
    const options = {
      offset: (i % pages) * PAGE,
      size: PAGE,
      ...(wanted === undefined ? {} : { iova: wanted }),
    }
    iovas.push(space.mapSync(memory, options))
  })
}

/** The first calls of all are slow for reasons of JavaScript, and would hide that later ones become slower. */
function warmUp(space: AddressSpace, memory: GuestMemory): void {
  for (let i = 0; i < WARM_UP; i++) space.unmapSync(space.mapSync(memory, { size: PAGE }), PAGE)
}

for (const mode of MODES) {
  for (const placement of PLACEMENTS) {
    test.serial(`${mode}: 60,000 mappings, ${placement.name}`, async (t) => {
      t.timeout(10 * 60_000)
      await withDevice(
        'edu',
        ({ addressSpace: space }) => {
          using memory = GuestMemory.create(1 << 20)
          new Uint8Array(memory.buffer).fill(1)
          warmUp(space, memory)
          const before = { holdings: holdings(), pinned: pinned(), available: space.mappingsAvailable }
          // What becomes slower with the number of mappings does so each time; what the machine does beside it does not.
          let steepest: [name: string, times: number][] = []
          for (let round = 0; round < ROUNDS; round++) {
            const iovas: bigint[] = []
            const map = fill(space, memory, placement, iovas)
            t.is(space.mappingCount, MAPPINGS)
            t.is(new Set(iovas).size, MAPPINGS)
            const unmap = timed((i) => {
              if (space.unmapSync(iovas[i]!, PAGE) !== BigInt(PAGE)) throw new Error('not unmapped')
            })
            steepest = Object.entries({ map, unmap }).flatMap(([name, { first, last }]) => {
              t.log(`${name}: ${first.toFixed(1)} us at first, ${last.toFixed(1)} us at last`)
              return last <= first * MOST_TIMES_SLOWER ? [] : [[name, last / first]]
            })
            if (steepest.length === 0) break
          }
          t.deepEqual(steepest, [], `slower in each of ${String(ROUNDS)} rounds`)
          t.is(space.mappingCount, 0)
          t.deepEqual({ holdings: holdings(), pinned: pinned(), available: space.mappingsAvailable }, before)
        },
        { iommu: mode },
      )
    })
  }
}
