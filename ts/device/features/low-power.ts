// Low power of a device (VFIO_DEVICE_FEATURE_LOW_POWER_*).
import { EventFd } from '../../event/eventfd.js'
import { instance } from '../../validate.js'
import type { DeviceCore } from '../core.js'
import { callFeature } from './call.js'

/**
 * Allows the kernel's power management to put a device to sleep (Linux 6.1). Whether it does is up to the platform; an
 * access through the device's file or by the kernel wakes it. While it is allowed, a mapped BAR does not answer: reads
 * through it are all ones until `exit()` and `region.remap()`.
 */
export class LowPower {
  readonly #device: DeviceCore
  #allowed = false

  /** @internal */
  constructor(device: DeviceCore) {
    this.#device = device
  }

  /**
   * Allows low power until `exit()` (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY). The device may go back to sleep after each
   * access.
   * @throws VfioError EINVAL when it is allowed already; `no-feature` where the device has none
   */
  enter(): void {
    callFeature(this.#device, 'lowPowerEntry', 'set', new Uint8Array())
    this.#allowed = true
  }

  /** Whether `enter()` allowed it and `exit()` has not ended that: mapped BARs do not answer meanwhile. */
  get allowed(): boolean {
    return this.#allowed
  }

  /**
   * Allows low power until the device wakes up, and signals then (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP). After
   * the signal it stays awake. A device that never went to sleep does not signal.
   * @param eventfd what is signalled (default: a new one, which is the caller's to close)
   * @throws VfioError as `enter`
   */
  enterWithWakeup(eventfd?: EventFd): EventFd {
    if (eventfd !== undefined) instance(eventfd, EventFd, 'eventfd')
    const wakeup = eventfd ?? new EventFd()
    try {
      // struct vfio_device_low_power_entry_with_wakeup
      const data = new DataView(new ArrayBuffer(8))
      data.setInt32(0, wakeup.fd, true)
      callFeature(this.#device, 'lowPowerEntryWithWakeup', 'set', new Uint8Array(data.buffer))
      return wakeup
    } catch (error) {
      if (eventfd === undefined) wakeup.close()
      throw error
    }
  }

  /**
   * Ends it (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT); without an entry before, it does nothing. Where a mapped BAR was touched
   * meanwhile (`region.faulted`), `region.remap()` puts it back.
   */
  exit(): void {
    callFeature(this.#device, 'lowPowerExit', 'set', new Uint8Array())
    this.#allowed = false
  }
}
