// The smallest of NVMe drivers: an admin queue and the command Identify, for devices whose DMA edu's 28 bits cannot reach.
import type { DmaBuffer, VfioDevice } from '../../ts/index.js'

const CC = 0x14
const CSTS = 0x1c
const AQA = 0x24
const ASQ = 0x28
const ACQ = 0x30
const TAIL_OF_SUBMISSIONS = 0x1000
/** On, with entries of 64 and of 16 bytes. */
const ENABLED = 0x0046_0001
const IDENTIFY = 0x06
const CONTROLLER = 1

/** What the controller says of itself, which it writes to memory: 4096 bytes. */
export async function identifyController(device: VfioDevice): Promise<Uint8Array> {
  const bar0 = device.region('bar0')
  const space = device.addressSpace
  // Page by page: without an IOMMU nothing lays them side by side.
  const pages: DmaBuffer[] = []
  for (let i = 0; i < 3; i++) pages.push(await space.allocate(4096))
  const [submissions, completions, data] = pages as [DmaBuffer, DmaBuffer, DmaBuffer]
  device.config.command.busMaster = true
  const timeoutMicros = 10_000_000
  const turn = (on: boolean): void => {
    bar0.write32(CC, on ? ENABLED : 0)
    bar0.poll32(CSTS, { mask: 1, equals: on ? 1 : 0, timeoutMicros })
  }
  turn(false)
  bar0.write32(AQA, 0x0001_0001)
  bar0.write64(ASQ, submissions.iova)
  bar0.write64(ACQ, completions.iova)
  turn(true)
  const command = new DataView(submissions.buffer)
  command.setUint32(0, IDENTIFY, true)
  command.setBigUint64(24, data.iova, true)
  command.setUint32(40, CONTROLLER, true)
  bar0.write32(TAIL_OF_SUBMISSIONS, 1)
  const completion = new DataView(completions.buffer)
  const end = performance.now() + timeoutMicros / 1000
  // Its phase bit turns once it is written.
  while ((completion.getUint32(12, true) & 0x1_0000) === 0) {
    if (performance.now() > end) throw new Error('the controller does not answer')
  }
  const status = completion.getUint32(12, true) >>> 17
  if (status !== 0) throw new Error(`Identify: status ${String(status)}`)
  const said = new Uint8Array(data.buffer).slice()
  turn(false)
  device.config.command.busMaster = false
  for (const page of pages) await page.close()
  return said
}
