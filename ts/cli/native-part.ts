// The finding of `vfio doctor` on the package itself: whether its native part can be loaded here.
import { VfioError } from '../errors.js'
import { blocker, ok } from './finding.js'
import type { Finding } from './output.js'

/** Loads the native part, which nothing else of the command needs. */
export async function nativePart(): Promise<Finding> {
  const { EventFd } = await import('../event/eventfd.js')
  try {
    new EventFd().close()
  } catch (error) {
    if (error instanceof VfioError && error.reason === 'no-addon')
      return blocker('addon', {
        what: 'the native part of node-vfio cannot be loaded',
        why: 'Devices, memory, eventfds and virtual machines need it; lists and reports do not.',
        next: error.remedy ?? error.message,
      })
    // It was loaded, to be refused an eventfd: what limits there are is said where they matter.
    if (!(error instanceof VfioError)) throw error
  }
  return ok('addon', 'the native part of node-vfio is loaded')
}
