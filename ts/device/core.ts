// DeviceCore: what the parts of a device know of it. A part is what VfioDevice hands out: regions, interrupts, features,
// migration, resets, display. It must not know the class that ties them together.
import { EOPNOTSUPP, VfioError } from '../errors.js'
import type { DeviceBackend, KernelDevice } from './backend.js'
import type { DeviceCondition } from './condition.js'
import type { DeviceInfo } from '../uapi/vfio/device-info.js'

/** A device, as its parts see it. */
export interface DeviceCore {
  /** What errors call it. */
  readonly label: string
  readonly info: DeviceInfo
  readonly closed: boolean
  /** @internal */
  readonly backend: DeviceBackend
  /** Whether something of a guest hangs on it. @internal */
  readonly wired: boolean
  readonly condition: DeviceCondition
  /**
   * What it shows of its condition itself, low power not considered; `ready` for one that is closed, which cannot be asked.
   * @internal
   */
  readonly shown: DeviceCondition
  /** Of INTx, MSI and MSI-X, the one that is enabled. @internal */
  exclusive: { readonly name: string } | undefined
  /** Counts a call that runs off the main thread, so that closing waits for it. @internal */
  running<T>(call: () => Promise<T>): Promise<T>
  /** Clears bus master; true when it was set. @internal */
  stopDma(): boolean
  reset(): Promise<void>
  /** Resets it between its close() and its end, inside `running()`. @internal */
  resetEnding(): void
  /** It was reset, by whichever way: what was under way is over. @internal */
  afterReset(): void
  close(): Promise<void>
}

/**
 * What only the kernel's device has.
 * @param call what it is needed for, as the kernel calls it
 * @throws VfioError EOPNOTSUPP where something else stands behind the device
 */
export function kernelOf(
  { backend, label }: { readonly backend: Pick<DeviceBackend, 'kernel'>; readonly label: string },
  call: string,
): KernelDevice {
  const { kernel } = backend
  if (kernel !== undefined) return kernel
  throw new VfioError(EOPNOTSUPP, call, {
    subject: label,
    reason: 'no-feature',
    remedy: "Only a device opened through the kernel's VFIO can do this.",
  })
}
