// dma.map and dma.map.iommufd: AddressSpace.mapSync() and unmapSync() of a megabyte beside the two ioctls in C++, in the same
// address space and of the same memory.
import { type Row, compare, median } from '../harness.js'
import { runLimit } from '../limits.js'
import { GuestMemory, type VfioDevice } from '../../ts/index.js'

const SIZE = 1 << 20
const PAGE = 4096
const TURNS = 60
const WARM_UP = 30_000
const OURS = 0x1000_0000n
const LIMITS = 0x2000_0000n

export async function dmaMap({ addressSpace: space }: VfioDevice): Promise<Row[]> {
  const memory = GuestMemory.create(SIZE)
  // Present, or the first pinning would bring it in.
  new Uint8Array(memory.buffer).fill(1)
  const pair = (size: number): void => {
    space.mapSync(memory, { iova: OURS, size })
    space.unmapSync(OURS, size)
  }
  // Compiled before it is measured, as the limit is: V8 optimizes these functions after some ten thousand calls.
  for (let i = 0; i < WARM_UP; i++) pair(PAGE)
  const { ioasId } = space
  const row = await compare({
    name: ioasId === null ? 'dma.map' : 'dma.map.iommufd',
    unit: 'us',
    runs: 41,
    ours: () => {
      const samples: number[] = []
      const readings: number[] = []
      for (let i = 0; i < TURNS; i++) {
        const start = performance.now()
        pair(SIZE)
        const end = performance.now()
        samples.push(end - start)
        readings.push(performance.now() - end)
      }
      // Reading JavaScript's clock takes a percent of a pair in an emulated processor, the limit's next to nothing.
      return (median(samples) - median(readings)) * 1e3
    },
    limit: () => {
      const own = ioasId === null ? [] : [ioasId]
      return runLimit('dma-map', [LIMITS.toString(), SIZE, TURNS, ...own], [space.fd, memory.fd]) / 1e3
    },
    peer: { none: 'peer: no npm package does this work' },
  })
  memory.close()
  return [row]
}
