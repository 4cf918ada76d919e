// What sits in a slot of the guest's PCI bus, as the bus sees it: a configuration space. A `PciPassthrough` is one, and so is a
// `PluggedDevice`.
import type { Width } from '../bus.js'

/** A function of PCI. Offsets are 0 to 4095 and aligned to the width; values are without a sign. */
export interface PciFunction {
  readConfig(offset: number, width: Width): number
  writeConfig(offset: number, width: Width, value: number): void
}

/** A function with its place on bus 0. */
export interface PluggedFunction {
  readonly slot: number
  readonly number: number
  readonly pciFunction: PciFunction
}
