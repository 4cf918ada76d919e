// The end of opening: the device that a route has enabled becomes an object, or everything is undone.
import { EBADF, VfioError } from '../../errors.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { KvmOwner } from './options.js'
import { type Route, abandon } from './route.js'

/**
 * Makes the object, and sets it up.
 * @param vm the machine that was told of the device
 */
export function arrive<Device extends Disposable>(
  native: NativeHandle,
  { route, name, vm }: { route: Route; name: string; vm: KvmOwner | undefined },
  make: () => Device,
  setUp: (device: Device) => void,
): Device {
  let device: Device | undefined
  try {
    // Enabling takes time, in which what it was opened for may have been closed.
    if (route.space.closed) throw new VfioError(EBADF, 'closed', { subject: route.space.label })
    if (vm?.closed === true) throw new VfioError(EBADF, 'closed', { subject: `the Vm of ${name}` })
    device = make()
    route.done()
    setUp(device)
    return device
  } catch (error) {
    if (device === undefined) {
      abandon(route, vm)
      addon().handleRelease(native, false)
    } else {
      device[Symbol.dispose]()
    }
    throw error
  }
}
