// Makes devices in user space, servers of them, and for some of those a client that has shown memory, so that there is something
// behind every member. The clients go with their servers.
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread, threadId } from 'node:worker_threads'

import { GuestMemory } from '../../../ts/index.js'
import { UserDevice, type UserDeviceOptions, UserDeviceServer } from '../../../ts/vfio-user/index.js'
import { FRAMING } from '../../../ts/vfio-user/protocol/constants.js'
import { encodeDmaMap } from '../../../ts/vfio-user/protocol/dma.js'
import { type Claims, encodeVersion } from '../../../ts/vfio-user/protocol/negotiation.js'
import * as io from '../../../ts/vfio-user/protocol/region-io.js'
import { Connection } from '../../../ts/vfio-user/transport/connection.js'
import { isAllowed } from '../judge.js'
import type { Population } from '../population.js'
import type { Random } from '../random.js'

const MEMORY = 1 << 16
const CONFIG = 7
const CLAIMS: Claims = { maxMsgFds: 16, maxDataXferSize: 1 << 20, maxDmaMaps: 64, writeMultiple: true }

// One for the process, whichever of its Workers needs it first.
const folder = join(tmpdir(), `node-vfio-fuzz-served-${process.pid}`)
if (isMainThread) {
  process.once('exit', () => {
    rmSync(folder, { recursive: true, force: true })
  })
}
let made = 0

/** A place for a socket: whatever a call names, it is in a folder of this process. */
export function socketPath(name: string): string {
  mkdirSync(folder, { recursive: true })
  return join(folder, name.replaceAll(/[/.]/g, '_'))
}

/** What a device can be made of. */
export function deviceOptions(random: Random): UserDeviceOptions {
  return {
    name: 'fuzz',
    pci: { vendorId: 0x1234, deviceId: random.below(0x10000), classCode: 0x00ff00 },
    regions: {
      bar0: { size: 4096, doorbells: [{ offset: 8, onRing: () => undefined }] },
      bar2: { size: 8192, plain: true },
    },
    irqs: { intx: true, msi: 4, msix: 8 },
    onRead: (_region, offset) => offset,
    migration: { save: () => new Uint8Array(8), load: () => undefined },
  }
}

function shake(peer: Connection): void {
  const { outData } = peer
  using memory = GuestMemory.create(MEMORY)
  peer.send(encodeVersion(outData, 0, 1, CLAIMS))
  peer.outData.setUint16(io.ACCESS_DATA, 6, true)
  peer.send(io.writeRegionWrite(outData, 0, 2, CONFIG, 4, 2, true))
  peer.send(encodeDmaMap(outData, 0, 3, { flags: 3, offset: 0n, iova: 0n, size: BigInt(MEMORY) }), [
    memory.fd,
  ])
  // A range of no file, which is reached by messages.
  peer.send(encodeDmaMap(outData, 0, 4, { flags: 3, offset: 0n, iova: 1n << 32n, size: 4096n }))
}

/** A client that reads what it is sent, and answers nothing. */
function connectTo(path: string): void {
  const peer = Connection.connect(path, { framing: FRAMING })
  peer.onMessages(
    () => undefined,
    () => {
      peer.close()
    },
  )
  peer.unref()
  shake(peer)
}

export async function makeServed(
  population: Population,
  random: Random,
  missing: (kind: string) => boolean,
): Promise<void> {
  if (missing('UserDevice')) await population.admit(new UserDevice(deviceOptions(random)), null)
  if (!missing('UserDeviceServer') && !missing('DeviceDma')) return
  const device = new UserDevice(deviceOptions(random))
  const path = socketPath(`made${threadId}-${made++}`)
  try {
    const server = UserDeviceServer.listen(path, device, {
      mode: random.chance(0.9) ? 'loop' : 'thread',
      onError: () => undefined,
    })
    connectTo(path)
    await population.admit(server, null)
  } catch (error) {
    if (!isAllowed(error)) throw error
  }
  await population.admit(device, null)
  await population.admit(device.dma, null)
}
