// What a device answers to, judged by registers that VFIO shows as the device has them: its ids are the kernel's, and read the
// same when it is gone. Knows nothing of who asks.
import { EIO, VfioError, type VfioErrorContext } from '../errors.js'
import type { PciConfig } from '../pci/index.js'

/**
 * - `ready`: it answers.
 * - `memory-decoding-off`: not where its memory BARs are (`config.command.memorySpace`).
 * - `powered-down`: only to its configuration space, in D1 to D3hot, or while low power is allowed.
 * - `device-lost`: to nothing: it was unplugged, its physical function took it away, or it did not come back from a reset.
 */
export type DeviceCondition = 'ready' | 'memory-decoding-off' | 'powered-down' | 'device-lost'

/** What keeps a device from being used. */
export type DeviceTrouble = Exclude<DeviceCondition, 'ready'>

/**
 * Where nothing answers, the host bridge decides what a read of the configuration space comes to; behind a socket, how the
 * connection ended.
 */
const UNANSWERED = ['EIO', 'ENODEV', 'ENXIO', 'ECONNRESET', 'ENOTCONN', 'ETIMEDOUT']

/** The condition of a PCI device. Its configuration space is all that is read, and may not be had any more. */
export function conditionOf(configOf: () => PciConfig): DeviceCondition {
  try {
    const config = configOf()
    if (!config.present) return 'device-lost'
    if (config.powerState !== 'D0') return 'powered-down'
    return config.command.memorySpace ? 'ready' : 'memory-decoding-off'
  } catch (error) {
    if (!(error instanceof VfioError)) throw error
    if (error.reason === 'device-lost' || UNANSWERED.includes(error.code)) return 'device-lost'
    throw error
  }
}

const REMEDIES: Record<DeviceTrouble, string> = {
  'memory-decoding-off': 'Set config.command.memorySpace (and power state D0) first.',
  'powered-down':
    'The device is asleep: write D0 to its power management capability, reset it, or end low power with features.lowPower.exit().',
  'device-lost':
    'Its config space reads as all ones: it was unplugged, or did not come back from a reset; try its bus, or a power cycle.',
}

export function troubleContext(subject: string, trouble: DeviceTrouble): VfioErrorContext {
  return { subject, reason: trouble, remedy: REMEDIES[trouble] }
}

/** Where the kernel says nothing of it. */
export function troubleError(syscall: string, subject: string, trouble: DeviceTrouble): VfioError {
  return new VfioError(EIO, syscall, troubleContext(subject, trouble))
}
