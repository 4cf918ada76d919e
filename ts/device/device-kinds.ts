// What can stand behind a device, by the kind that its backend names: how a token of `share()` becomes a device in another
// Worker.
import type { NativeHandle } from '../native/index.js'
import type { DeviceBackend } from './backend.js'
import { KernelBackend } from './kernel/backend.js'

export interface DeviceKind {
  /** What the addon calls the native object of such a device. */
  readonly native: string
  /**
   * @param own gives the native object
   * @param label what errors call the device
   */
  readonly over: (own: () => NativeHandle, label: string) => DeviceBackend
}

export const deviceKinds = new Map<unknown, DeviceKind>([
  ['kernel', { native: 'VfioDevice', over: (own, label) => new KernelBackend(own, label) }],
])

export function deviceKind(kind: unknown): DeviceKind {
  const found = deviceKinds.get(kind)
  if (found === undefined) throw new TypeError('token must come from share()')
  return found
}
