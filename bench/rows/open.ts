// device.open: VfioDevice.open() and close() beside the kernel calls alone. The difference is what makes the errors: sysfs
// is read, so that what stands in the way can be named.
import { type Row, compare } from '../harness.js'
import { runLimit } from '../limits.js'
import { VfioDevice } from '../../ts/index.js'
import { resolveDevice } from '../../ts/host/index.js'

const TURNS = 5

export async function deviceOpen(address: string): Promise<Row[]> {
  const group = resolveDevice(address)?.iommuGroup
  if (group === undefined || group === null) throw new Error(`${address} has no IOMMU group`)
  return [
    await compare({
      name: 'device.open',
      unit: 'ms',
      ours: async () => {
        const start = performance.now()
        for (let i = 0; i < TURNS; i++) {
          const device = await VfioDevice.open(address)
          await device.close()
        }
        return (performance.now() - start) / TURNS
      },
      limit: () => runLimit('device-open', [`/dev/vfio/${group}`, address, TURNS]) / 1e6,
      peer: { none: 'peer: no npm package does this work' },
    }),
  ]
}
