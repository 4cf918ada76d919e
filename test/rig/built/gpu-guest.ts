// The guest's half of a virtio-gpu, as a driver in a Worker: what a device is served by in the same process must not wait for what
// it answers. It is told commands and pixels, and says what was answered.
import { parentPort, workerData } from 'node:worker_threads'
import { VfioDevice } from 'node-vfio'

import { AREA, COMMON, NOTIFY_STEP, STATUS } from '../../../examples/devices/virtio/registers.js'

/** What the Worker is sent: a command of virtio-gpu, from its number on without the header's rest, or bytes for the backing. */
export type Order = { command: number; fields: readonly number[] } | { pixels: Uint8Array }

const IOVA = 0x10_0000n
/** Where things are in the guest's memory. */
const PLACE = { descriptors: 0, available: 0x1000, used: 0x2000, request: 0x3000, answer: 0x4000 } as const
/** Where the pixels of the guest begin. */
export const PIXELS = 0x1_0000
export const PIXELS_IOVA = Number(IOVA) + PIXELS
const MEMORY = 16 << 20
const QUEUE_SIZE = 16
const HEADER_WORDS = 6
const ANSWER_BYTES = 24
const PATIENCE_MILLISECONDS = 10_000

async function main(port: NonNullable<typeof parentPort>): Promise<void> {
  const device = await VfioDevice.connect(workerData as string)
  const bar = device.region('bar0')
  device.config.command.memorySpace = true
  device.config.command.busMaster = true
  const { buffer } = await device.addressSpace.allocate(MEMORY, { iova: IOVA })
  const view = new DataView(buffer)
  const bytes = new Uint8Array(buffer)
  const status = (value: number): void => bar.write8(COMMON.status, value)
  status(0)
  status(STATUS.acknowledge | STATUS.driver)
  for (const select of [0, 1]) {
    bar.write32(COMMON.deviceFeatureSelect, select)
    bar.write32(COMMON.driverFeatureSelect, select)
    bar.write32(COMMON.driverFeature, bar.read32(COMMON.deviceFeature))
  }
  status(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk)
  bar.write16(COMMON.queueSelect, 0)
  bar.write16(COMMON.queueSize, QUEUE_SIZE)
  for (const [register, place] of [
    [COMMON.queueDescriptors, PLACE.descriptors],
    [COMMON.queueAvailable, PLACE.available],
    [COMMON.queueUsed, PLACE.used],
  ] as const) {
    bar.write32(register, Number(IOVA) + place)
    bar.write32(register + 4, 0)
  }
  bar.write16(COMMON.queueEnable, 1)
  status(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk | STATUS.driverOk)

  const describe = (index: number, place: number, length: number, flags: number, next: number): void => {
    view.setBigUint64(16 * index, IOVA + BigInt(place), true)
    view.setUint32(16 * index + 8, length, true)
    view.setUint16(16 * index + 12, flags, true)
    view.setUint16(16 * index + 14, next, true)
  }
  let offered = 0
  const ask = async (command: number, fields: readonly number[]): Promise<number> => {
    const request = new Uint32Array(HEADER_WORDS + fields.length)
    request[0] = command
    request.set(fields, HEADER_WORDS)
    bytes.set(new Uint8Array(request.buffer), PLACE.request)
    describe(0, PLACE.request, request.byteLength, 1, 1)
    describe(1, PLACE.answer, ANSWER_BYTES, 2, 0)
    view.setUint16(PLACE.available + 4 + 2 * (offered % QUEUE_SIZE), 0, true)
    offered = (offered + 1) & 0xffff
    view.setUint16(PLACE.available + 2, offered, true)
    bar.write16(AREA.notify.at + 0 * NOTIFY_STEP, 0)
    for (const end = Date.now() + PATIENCE_MILLISECONDS; view.getUint16(PLACE.used + 2, true) !== offered;) {
      if (Date.now() > end) throw new Error(`command ${command.toString(16)} was not answered`)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    return view.getUint32(PLACE.answer, true)
  }

  port.postMessage('ready')
  for (;;) {
    const order = await new Promise<Order | null>((resolve) => port.once('message', resolve))
    if (order === null) break
    if ('pixels' in order) {
      bytes.set(order.pixels, PIXELS)
      port.postMessage(0)
    } else {
      port.postMessage(await ask(order.command, order.fields))
    }
  }
  await device.close()
  port.close()
}

if (parentPort !== null) await main(parentPort)
