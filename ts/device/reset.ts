// Resetting one function (VFIO_DEVICE_RESET), and what every reset has to answer for: that the device came back.
import { type VfioErrorContext, attempt, attemptAsync } from '../errors.js'
import { troubleContext, troubleError } from './condition.js'
import type { DeviceCore } from './core.js'

export async function resetFunction(device: DeviceCore): Promise<void> {
  await device.running(() =>
    attemptAsync(
      () => refused(device),
      () => device.backend.reset(),
    ),
  )
  finishReset('VFIO_DEVICE_RESET', device)
}

export function resetFunctionSync(device: DeviceCore): void {
  attempt(
    () => refused(device),
    () => {
      device.backend.resetSync()
    },
  )
  finishReset('VFIO_DEVICE_RESET', device)
}

/** After a reset that the kernel takes for done. Memory decoding is then what it was before, whatever that was. */
export function finishReset(syscall: string, ...devices: readonly DeviceCore[]): void {
  for (const device of devices) device.afterReset()
  for (const { label, shown } of devices) {
    if (shown === 'device-lost' || shown === 'powered-down') throw troubleError(syscall, label, shown)
  }
}

/** What is known of a reset that the kernel refuses: of a device that is gone, that is why. */
export function refused({ label, shown }: DeviceCore): VfioErrorContext {
  return shown === 'device-lost' ? troubleContext(label, shown) : { subject: label }
}
