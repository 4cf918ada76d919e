// irq.latency: from the register write that raises edu's interrupt to the handler, beside an epoll loop in C++ on the same
// device and the same eventfd.
import { type Row, compare, median } from '../harness.js'
import { runLimit } from '../limits.js'
import { SignalPoller, type VfioDevice } from '../../ts/index.js'

const INTERRUPTS = 100
const RAISE = 0x60
const ACKNOWLEDGE = 0x64

export async function irqLatency(device: VfioDevice): Promise<Row[]> {
  const region = device.region('bar0')
  const { fileOffset } = device.backend.regionInfo(region.index)
  const msi = device.irq('msi')
  const eventfd = msi.enable(1)[0]!
  // A message-signalled interrupt is a write by the device.
  device.config.command.busMaster = true
  const poller = new SignalPoller()

  const latency = async (): Promise<number> => {
    let arrived!: (time: number) => void
    poller.add(eventfd, () => arrived(performance.now()))
    const samples: number[] = []
    for (let i = 0; i < INTERRUPTS; i++) {
      const arrival = new Promise<number>((resolve) => {
        arrived = resolve
      })
      const start = performance.now()
      region.write32(RAISE, 1)
      samples.push((await arrival) - start)
      region.write32(ACKNOWLEDGE, 1)
    }
    poller.remove(eventfd)
    return median(samples) * 1e3
  }
  const row = await compare({
    name: 'irq.latency',
    unit: 'us',
    ours: latency,
    limit: () =>
      runLimit('irq-latency', [fileOffset, region.size, INTERRUPTS], [device.fd, eventfd.fd]) / 1e3,
    peer: { none: 'peer: no npm package does this work' },
  })
  poller.close()
  msi.disable()
  return [row]
}
