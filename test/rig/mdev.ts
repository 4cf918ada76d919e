// Mediated devices of the kernel's samples, made for the time of a test.
import { existsSync } from 'node:fs'
import { randomUUID } from 'node:crypto'

import { type OpenOptions, VfioDevice } from '../../ts/index.js'
import { writeSysfs } from './devices.js'

/** Makes a mediated device; gives its UUID. */
export async function createMdev(parent: string, type: string): Promise<string> {
  const uuid = randomUUID()
  await writeSysfs(`/sys/class/mdev_bus/${parent}/mdev_supported_types/${type}/create`, uuid)
  return uuid
}

/** Takes it away; nobody may have it open. */
export async function removeMdev(uuid: string): Promise<void> {
  const device = `/sys/bus/mdev/devices/${uuid}`
  if (existsSync(device)) await writeSysfs(`${device}/remove`, '1')
}

/** Opens new mediated devices of a type for the time of a function. */
export async function withMdevs<T>(
  { parent, type, count = 1 }: { parent: string; type: string; count?: number },
  use: (devices: VfioDevice[], uuids: string[]) => T | Promise<T>,
  options?: OpenOptions,
): Promise<T> {
  const uuids: string[] = []
  const devices: VfioDevice[] = []
  try {
    for (let i = 0; i < count; i++) uuids.push(await createMdev(parent, type))
    for (const uuid of uuids) devices.push(await VfioDevice.open(uuid, options))
    return await use(devices, uuids)
  } finally {
    for (const device of devices) await device.close()
    for (const uuid of uuids) await removeMdev(uuid)
  }
}
