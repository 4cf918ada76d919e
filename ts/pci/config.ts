// A device's configuration space, typed. It must not know where the bytes come from, nor keep any of them:
// every read goes to the device.

import { type PciBar, readBars } from './bars.js'
import type { Capability, PowerState } from './capabilities.js'
import { PciCommand } from './command.js'
import { type ConfigSpace, checkSpace } from './config-space.js'
import type { ExtendedCapability } from './extended-capabilities.js'
import * as regs from './registers.js'
import { isPresent } from './presence.js'
import { type ConfigProblem, walkCapabilities, walkExtendedCapabilities } from './walk.js'

/** `PCI_STATUS`, decoded. */
export interface PciStatus {
  /** The whole register, 16 bits. */
  readonly raw: number
  readonly immediateReadiness: boolean
  /** INTx is asserted inside the device, whether or not the command register lets it out. */
  readonly interrupt: boolean
  readonly capabilityList: boolean
  readonly capable66Mhz: boolean
  readonly fastBackToBack: boolean
  readonly masterParityError: boolean
  readonly signalledTargetAbort: boolean
  readonly receivedTargetAbort: boolean
  readonly receivedMasterAbort: boolean
  readonly signalledSystemError: boolean
  readonly detectedParityError: boolean
}

/** The class code and its three parts. */
export interface PciClassCode {
  /** 24 bits, as sysfs prints it. */
  readonly code: number
  /** Base class, 8 bits. */
  readonly base: number
  /** Subclass, 8 bits. */
  readonly sub: number
  /** Programming interface, 8 bits. */
  readonly progIf: number
}

/** Which INTx pin a device uses; null if none, `'reserved'` for a value the specification does not know. */
export type InterruptPin = 'INTA' | 'INTB' | 'INTC' | 'INTD' | 'reserved' | null

const INTERRUPT_PINS: readonly InterruptPin[] = [null, 'INTA', 'INTB', 'INTC', 'INTD']

/** How many base address registers each header type has. */
const BAR_COUNTS: Readonly<Record<number, number>> = {
  [regs.PCI_HEADER_TYPE_NORMAL]: 6,
  [regs.PCI_HEADER_TYPE_BRIDGE]: 2,
  [regs.PCI_HEADER_TYPE_CARDBUS]: 1,
}

const ROM_REGISTERS: Readonly<Record<number, number>> = {
  [regs.PCI_HEADER_TYPE_NORMAL]: regs.PCI_ROM_ADDRESS,
  [regs.PCI_HEADER_TYPE_BRIDGE]: regs.PCI_ROM_ADDRESS1,
}

/** Typed access to a device's configuration space. */
export class PciConfig {
  /** The bytes underneath, for registers that have no name here. */
  readonly space: ConfigSpace
  /** `PCI_COMMAND`, live. */
  readonly command: PciCommand

  /** @throws RangeError if `space` has fewer than the 64 bytes of a header */
  constructor(space: ConfigSpace) {
    checkSpace(space)
    if (space.size < regs.PCI_STD_HEADER_SIZEOF) {
      throw new RangeError(`configuration space of ${space.size} bytes is smaller than its 64-byte header`)
    }
    this.space = space
    this.command = new PciCommand(space)
  }

  /** False when class and revision read all ones: the device is gone, or did not come back from a reset. */
  get present(): boolean {
    return isPresent(this.space)
  }

  /** As the power management capability has it; D0 for a device without one. Below it only this space answers. */
  get powerState(): PowerState {
    return this.capability('pm')?.state ?? 'D0'
  }

  get vendorId(): number {
    return this.space.read16(regs.PCI_VENDOR_ID)
  }

  get deviceId(): number {
    return this.space.read16(regs.PCI_DEVICE_ID)
  }

  /** `PCI_STATUS`. */
  get status(): PciStatus {
    const raw = this.space.read16(regs.PCI_STATUS)
    return {
      raw,
      immediateReadiness: (raw & regs.PCI_STATUS_IMM_READY) !== 0,
      interrupt: (raw & regs.PCI_STATUS_INTERRUPT) !== 0,
      capabilityList: (raw & regs.PCI_STATUS_CAP_LIST) !== 0,
      capable66Mhz: (raw & regs.PCI_STATUS_66MHZ) !== 0,
      fastBackToBack: (raw & regs.PCI_STATUS_FAST_BACK) !== 0,
      masterParityError: (raw & regs.PCI_STATUS_PARITY) !== 0,
      signalledTargetAbort: (raw & regs.PCI_STATUS_SIG_TARGET_ABORT) !== 0,
      receivedTargetAbort: (raw & regs.PCI_STATUS_REC_TARGET_ABORT) !== 0,
      receivedMasterAbort: (raw & regs.PCI_STATUS_REC_MASTER_ABORT) !== 0,
      signalledSystemError: (raw & regs.PCI_STATUS_SIG_SYSTEM_ERROR) !== 0,
      detectedParityError: (raw & regs.PCI_STATUS_DETECTED_PARITY) !== 0,
    }
  }

  get revision(): number {
    return this.space.read8(regs.PCI_REVISION_ID)
  }

  get classCode(): PciClassCode {
    const code = this.space.read32(regs.PCI_CLASS_REVISION) >>> 8
    return { code, base: code >> 16, sub: (code >> 8) & 0xff, progIf: code & 0xff }
  }

  /** In bytes; the register counts 4-byte words. */
  get cacheLineSize(): number {
    return this.space.read8(regs.PCI_CACHE_LINE_SIZE) * 4
  }

  /** In PCI clocks; PCI Express devices read 0. */
  get latencyTimer(): number {
    return this.space.read8(regs.PCI_LATENCY_TIMER)
  }

  /** Layout of the header, the multifunction bit taken off: 0 device, 1 PCI bridge, 2 CardBus bridge. */
  get headerType(): number {
    return this.space.read8(regs.PCI_HEADER_TYPE) & regs.PCI_HEADER_TYPE_MASK
  }

  get multifunction(): boolean {
    return (this.space.read8(regs.PCI_HEADER_TYPE) & regs.PCI_HEADER_TYPE_MFD) !== 0
  }

  /**
   * The base address registers that are not 0; see {@link readBars} for what that leaves out. Under VFIO
   * these are the kernel's virtual copies: the sizes are those of the regions.
   */
  get bars(): PciBar[] {
    return readBars(this.space, regs.PCI_BASE_ADDRESS_0, BAR_COUNTS[this.headerType] ?? 0)
  }

  /** Null where the header has no such registers: a bridge has the `ssvid` capability for it. */
  get subsystem(): { readonly vendorId: number; readonly deviceId: number } | null {
    if (this.headerType !== regs.PCI_HEADER_TYPE_NORMAL) return null
    return {
      vendorId: this.space.read16(regs.PCI_SUBSYSTEM_VENDOR_ID),
      deviceId: this.space.read16(regs.PCI_SUBSYSTEM_ID),
    }
  }

  /** The expansion ROM's register; null where the header has none. */
  get rom(): { readonly address: bigint; readonly enabled: boolean } | null {
    const register = ROM_REGISTERS[this.headerType]
    if (register === undefined) return null
    const raw = this.space.read32(register)
    return { address: BigInt((raw & ~0x7ff) >>> 0), enabled: (raw & regs.PCI_ROM_ADDRESS_ENABLE) !== 0 }
  }

  /** What firmware left there; 255 means unknown. It has no effect on the device. */
  get interruptLine(): number {
    return this.space.read8(regs.PCI_INTERRUPT_LINE)
  }

  get interruptPin(): InterruptPin {
    const pin = INTERRUPT_PINS[this.space.read8(regs.PCI_INTERRUPT_PIN)]
    return pin === undefined ? 'reserved' : pin
  }

  /** The standard list, in its order. What could not be followed is in {@link problems}. */
  capabilities(): Capability[] {
    return walkCapabilities(this.space).capabilities
  }

  /** The extended list, in its order. What could not be followed is in {@link problems}. */
  extendedCapabilities(): ExtendedCapability[] {
    return walkExtendedCapabilities(this.space).capabilities
  }

  /** The first standard capability of that name; null if there is none. */
  capability<N extends Capability['name']>(name: N): Extract<Capability, { name: N }> | null {
    const isNamed = (cap: Capability): cap is Extract<Capability, { name: N }> => cap.name === name
    return this.capabilities().find(isNamed) ?? null
  }

  /** The first extended capability of that name; null if there is none. */
  extendedCapability<N extends ExtendedCapability['name']>(
    name: N,
  ): Extract<ExtendedCapability, { name: N }> | null {
    const isNamed = (cap: ExtendedCapability): cap is Extract<ExtendedCapability, { name: N }> =>
      cap.name === name
    return this.extendedCapabilities().find(isNamed) ?? null
  }

  /** Walks both lists again and says everything that is wrong with them; empty for a sound device. */
  problems(): ConfigProblem[] {
    const standard = walkCapabilities(this.space).problems
    if (!this.present) return standard
    return [...standard, ...walkExtendedCapabilities(this.space).problems]
  }
}
