// Resetting one function (VFIO_DEVICE_RESET), and what every reset has to answer for: that the device came back.
import { type VfioErrorContext, attempt, attemptAsync } from '../errors.js'
import { addon, type NativeHandle } from '../native/index.js'
import { type DeviceCondition, troubleContext, troubleError } from './condition.js'

/** What a reset needs of a device. */
export interface ResettableDevice {
  readonly native: NativeHandle
  readonly name: string
  readonly condition: DeviceCondition
  /** Counts a call that runs off the main thread. */
  inFlight<T>(call: () => Promise<T>): Promise<T>
  afterReset(): void
}

export async function resetFunction(device: ResettableDevice): Promise<void> {
  await device.inFlight(() =>
    attemptAsync(
      () => refused(device),
      () => addon().deviceReset(device.native),
    ),
  )
  finishReset('VFIO_DEVICE_RESET', device)
}

export function resetFunctionSync(device: ResettableDevice): void {
  attempt(
    () => refused(device),
    () => {
      addon().deviceResetSync(device.native)
    },
  )
  finishReset('VFIO_DEVICE_RESET', device)
}

/** After a reset that the kernel takes for done. Memory decoding is then what it was before, whatever that was. */
export function finishReset(syscall: string, ...devices: readonly ResettableDevice[]): void {
  for (const device of devices) device.afterReset()
  for (const { name, condition } of devices) {
    if (condition === 'device-lost' || condition === 'powered-down')
      throw troubleError(syscall, name, condition)
  }
}

/** What is known of a reset that the kernel refuses: of a device that is gone, that is why. */
export function refused({ name, condition }: ResettableDevice): VfioErrorContext {
  return condition === 'device-lost' ? troubleContext(name, condition) : { subject: name }
}
