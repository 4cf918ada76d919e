// Devices that processes serve, as `vfio ls` lists them: each is connected to and asked what it is. The host knows nothing of them.
import { VfioError } from '../errors.js'
import type { CliContext } from './context.js'
import { failure } from './format.js'
import { POSSIBLE, refused } from './openable.js'
import type { ListedDevice } from './output.js'
import { reach } from './reach.js'

const NOT_OF_THE_HOST = { bus: 'vfio-user', driver: null, iommuGroup: null }

async function servedAt(id: string, context: CliContext): Promise<ListedDevice> {
  try {
    const device = await reach(id, context)
    try {
      const { vendorId: vendor, deviceId, classCode } = device.config
      return { ...NOT_OF_THE_HOST, name: id, vendor, device: deviceId, class: classCode.code, open: POSSIBLE }
    } finally {
      await device.close()
    }
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
    const unknown = { vendor: null, device: null, class: null }
    return { ...NOT_OF_THE_HOST, ...unknown, name: id, open: refused(error, failure(error)) }
  }
}

/** One after the other, in the order in which they are named: `user:PATH`. */
export async function servedDevices(ids: readonly string[], context: CliContext): Promise<ListedDevice[]> {
  const devices: ListedDevice[] = []
  for (const id of ids) devices.push(await servedAt(id, context))
  return devices
}
