// Which device a command means, opened: one of the host's, or `user:PATH`, one that a process serves over a vfio-user socket.
import { VfioDevice } from '../device/device.js'
import '../vfio-user/client/register.js'
import type { CliContext } from './context.js'
import { checkDevice } from './given.js'
import { socketOf } from './socket-name.js'

/** Opens it for the time of a command: nobody answers what it says of itself. */
export function reach(id: string, context: CliContext): Promise<VfioDevice> {
  const path = socketOf(id)
  return path === null
    ? VfioDevice.open(checkDevice(id, context), { ...context.host, watch: false })
    : VfioDevice.connect(path, { watch: false })
}
