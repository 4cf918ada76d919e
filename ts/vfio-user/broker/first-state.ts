// What a client can leave behind in a device's configuration space that a reset does not undo: the kernel shows BARs as the last one
// wrote them, and restores control registers after a reset. Keeps their first values.
import type { VfioDevice } from '../../device/device.js'
import * as regs from '../../pci/registers.js'

interface Kept {
  readonly offset: number
  readonly width: 1 | 2 | 4
  readonly value: number
}

const CACHE_LINE_AND_LATENCY = 0x0c
const BARS = 6

export class FirstState {
  readonly #device: VfioDevice
  readonly #kept: readonly Kept[]

  constructor(device: VfioDevice) {
    this.#device = device
    const { config } = device
    const { space } = config
    const kept: Kept[] = []
    const keep = (offset: number, width: 1 | 2 | 4, mask = 0xffff_ffff): void => {
      const value =
        width === 4 ? space.read32(offset) : width === 2 ? space.read16(offset) : space.read8(offset)
      kept.push({ offset, width, value: (value & mask) >>> 0 })
    }
    keep(CACHE_LINE_AND_LATENCY, 2)
    for (let bar = 0; bar < BARS; bar++) keep(regs.PCI_BASE_ADDRESS_0 + 4 * bar, 4)
    keep(regs.PCI_ROM_ADDRESS, 4)
    keep(regs.PCI_INTERRUPT_LINE, 1)
    const express = config.capability('exp')
    if (express !== null) {
      // Its highest bit resets the function.
      keep(express.offset + regs.PCI_EXP_DEVCTL, 2, 0xffff & ~regs.PCI_EXP_DEVCTL_BCR_FLR)
      keep(express.offset + regs.PCI_EXP_LNKCTL, 2)
      if (express.version >= 2) keep(express.offset + regs.PCI_EXP_DEVCTL2, 2)
    }
    this.#kept = kept
  }

  /** Decoding, bus mastering and all that was kept, as they were: nothing on. */
  restore(): void {
    const { command, space } = this.#device.config
    command.raw = 0
    for (const { offset, width, value } of this.#kept) {
      if (width === 4) space.write32(offset, value)
      else if (width === 2) space.write16(offset, value)
      else space.write8(offset, value)
    }
  }
}
