// A device as its parts see it, without the parts: for tests of one of them over as much of a backend as that one asks.
import type { DeviceBackend } from '../../ts/device/backend.js'
import type { DeviceCore } from '../../ts/device/core.js'

/** @param given what the test has its own answer to */
export function coreOf(backend: Partial<DeviceBackend>, given: Partial<DeviceCore> = {}): DeviceCore {
  return {
    label: 'the fake',
    info: { flags: 2, bus: 'pci', resettable: true, numRegions: 9, numIrqs: 5, capabilities: [] },
    closed: false,
    backend: backend as DeviceBackend,
    wired: false,
    condition: 'ready',
    shown: 'ready',
    exclusive: undefined,
    running: (call) => call(),
    stopDma: () => false,
    reset: () => Promise.resolve(),
    resetEnding: () => undefined,
    afterReset: () => undefined,
    close: () => Promise.resolve(),
    ...given,
  }
}
