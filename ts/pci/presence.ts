// Whether a device answers configuration accesses. It must not know who carries them.
import type { ConfigSpace } from './config-space.js'
import * as regs from './registers.js'

/**
 * A device that is gone reads all ones. Its ids do not tell: VFIO shows those that the kernel found, of a device that is gone
 * too, and a virtual function's own read all ones by specification. Class and revision are always the device's.
 */
export function isPresent(config: ConfigSpace): boolean {
  return config.read32(regs.PCI_CLASS_REVISION) !== 0xffffffff
}
