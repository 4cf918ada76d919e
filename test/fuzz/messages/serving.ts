// The server of the message fuzzer, in a Worker: one device with everything that a device can have, some of it slow or broken. What
// is reported must be an error for a client, or the device's own.
import { setTimeout as sleep } from 'node:timers/promises'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { inspect } from 'node:util'

import { GuestMemory, VfioError } from '../../../ts/index.js'
import { UserDevice, UserDeviceServer } from '../../../ts/vfio-user/index.js'
import type { ServingData, ServingMessage } from './shared.js'

class Broken extends Error {}

const port = parentPort as MessagePort
const { path, mode } = workerData as ServingData
const memory = GuestMemory.create(0x4000)

function say(message: ServingMessage): void {
  port.postMessage(message)
}

const ignore = (): undefined => undefined

/** What a device does when it is written to: interrupts, and DMA of all kinds. */
function act(offset: number, value: number): unknown {
  device.raise('msix', offset % 8)
  if (offset % 8 === 0) device.raise('intx')
  else device.lower()
  const iova = BigInt(value) * 16n
  const bytes = new Uint8Array(offset % 3 === 0 ? 64 : 5000)
  switch ((offset >> 2) % 6) {
    case 0:
      return device.dma.read(iova, bytes).then(ignore, ignore)
    case 1:
      return device.dma.write(iova, bytes).then(ignore, ignore)
    case 2:
      device.dma.copyIn(iova, bytes)
      return undefined
    case 3:
      device.dma.scatter(BigUint64Array.of(iova, 1000n, iova + 5000n, BigInt(bytes.length) - 1000n), bytes)
      return undefined
    case 4:
      new Uint8Array(device.dma.window(iova, 64)).fill(1)
      return undefined
    default:
      return sleep(offset % 5)
  }
}

const device = new UserDevice({
  name: 'fuzzed',
  pci: { vendorId: 0x1234, deviceId: 0x11e8, classCode: 0xff0000 },
  regions: {
    bar0: { size: 0x1000, doorbells: [{ offset: 8, width: 4, onRing: ignore }] },
    bar2: { size: 0x4000, memory, mmapAreas: [{ offset: 0x1000, size: 0x2000 }] },
    bar4: { size: 0x1000, plain: true },
  },
  irqs: { intx: true, msi: 4, msix: 8 },
  onRead(_region, offset) {
    if (offset % 64 === 60) throw new Broken('a read')
    return offset % 64 === 32 ? sleep(1, offset) : offset
  },
  onWrite: (_region, offset, _width, value) => act(offset, value),
  onReset: () => sleep(0),
  migration: {
    save: () => new Uint8Array(5000),
    load(state) {
      if (state.length !== 5000) throw new Broken('a state of another length')
    },
    preCopy: () => new Uint8Array(10),
  },
})

const server = UserDeviceServer.listen(path, device, {
  mode,
  deadlineMillis: 200,
  handshakeMillis: 200,
  onError(error) {
    if (!(error instanceof VfioError) && !(error instanceof Broken))
      say({ kind: 'finding', text: inspect(error) })
  },
})

port.on('message', () => {
  const { clients, messages, refused } = server.statistics
  say({ kind: 'figures', clients, messages, refused })
  server.close()
  memory.close()
  port.close()
})
say({ kind: 'ready' })
if (mode === 'thread') await server.run()
