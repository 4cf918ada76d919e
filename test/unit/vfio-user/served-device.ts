// A device of this package's own server, in a Worker: registers that a handler answers, memory that is mapped, interrupts, DMA, a
// doorbell, and a state that migrates. For tests of the client against it.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'

import { GuestMemory } from '../../../ts/memory/guest-memory.js'
import { UserDevice, UserDeviceServer } from '../../../ts/vfio-user/index.js'
import { SERVED } from './served-registers.js'

const registers = new Uint32Array(1024)
const memory = GuestMemory.create(SERVED.memoryBytes)
let resets = 0
let rings = 0

async function command(value: number): Promise<void> {
  const iova = BigInt(registers[SERVED.iova / 4] ?? 0)
  const bytes = new Uint8Array(64)
  if (value === SERVED.raise) device.raise('msix', registers[SERVED.vector / 4])
  if (value === SERVED.read) bytes.set(await device.dma.read(iova, bytes))
  if (value === SERVED.write) await device.dma.write(iova, bytes.fill(0xa5))
  if (value === SERVED.raiseLine) device.raise('intx')
  if (value === SERVED.lowerLine) device.lower()
  registers[SERVED.first / 4] = bytes[0] ?? 0
}

const device = new UserDevice({
  name: 'served',
  pci: { vendorId: 0x1234, deviceId: 0x11e8, classCode: 0xff0000 },
  regions: {
    bar0: {
      size: 4096,
      doorbells: [{ offset: SERVED.doorbell, width: 4, match: 1, onRing: (count) => (rings += count) }],
      read: (offset, width) => {
        if (offset === SERVED.resets) return resets
        if (offset === SERVED.rings) return rings
        if (offset === SERVED.writes) return server.statistics.writes
        if (offset === SERVED.messages) return server.statistics.messages
        const word = registers[offset >> 2] ?? 0
        return width === 4 ? word : (word >>> (8 * (offset & 3))) & (2 ** (8 * width) - 1)
      },
      write: (offset, width, value) => {
        if (width === 4) registers[offset >> 2] = value
        if (offset !== SERVED.command) return undefined
        // The answer to the write comes first, and what is asked of the client after it.
        setImmediate(() => {
          command(value).then(
            () => (registers[SERVED.done / 4] = 1),
            () => (registers[SERVED.done / 4] = 2),
          )
        })
        return undefined
      },
    },
    bar2: {
      size: SERVED.memoryBytes,
      prefetchable: true,
      memory,
      mmapAreas: [{ offset: 4096, size: SERVED.memoryBytes - 4096 }],
    },
  },
  irqs: { intx: true, msix: 8 },
  onReset: () => {
    resets++
    registers.fill(0)
  },
  migration: {
    save: () => new Uint8Array(registers.buffer.slice(0)),
    load: (state) => {
      registers.set(new Uint32Array(state.slice().buffer, 0, registers.length))
    },
  },
})

const port = parentPort as MessagePort
const { path, mode } = workerData as { path: string; mode: 'loop' | 'thread' }
const server = UserDeviceServer.listen(path, device, { mode })
port.on('message', () => {
  server.close()
  memory.close()
  port.close()
})
port.postMessage('ready')
if (mode === 'thread') await server.run()
