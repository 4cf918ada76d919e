// How capabilities look to a guest, and which of their registers it may write. Pure: rewrites the two lists and marks bits;
// MSI and MSI-X, whose registers are emulated, are only listed. What is hidden reads as zeros.
import type { AfCapability, Capability, PmCapability } from '../../pci/capabilities.js'
import type { PciConfig } from '../../pci/config.js'
import type { ExpCapability } from '../../pci/express.js'
import type { ExtendedCapability } from '../../pci/extended-capabilities.js'
import * as regs from '../../pci/registers.js'
import type { ConfigRegisters } from './config-registers.js'
import { extendedForGuests, isForGuests } from './policy.js'

/** What follows from a guest's write to a capability. */
export interface CapabilityEvents {
  /** The power state: 0 for D0. `commit` does the write. */
  power(state: number, commit: () => void): void
  /** The guest resets the function; `commit` does it. */
  reset(commit: () => void): void
}

/** True for a capability that the guest is not to see, beside those that are never shown. */
export type HideCapability = (capability: Capability | ExtendedCapability) => boolean

/** Emulated by somebody else. */
const EMULATED: ReadonlySet<Capability['name']> = new Set(['msi', 'msix'])

const FIRST = regs.PCI_STD_HEADER_SIZEOF
const FLR_BIT = { exp: regs.PCI_EXP_DEVCTL_BCR_FLR, af: regs.PCI_AF_CTRL_FLR }

/** PCI Express registers that the guest may write: VFIO lets through what is harmless. Status is cleared by writing 1. */
const EXP_CONTROL = [regs.PCI_EXP_DEVCTL, regs.PCI_EXP_LNKCTL]
const EXP_CONTROL_2 = [regs.PCI_EXP_DEVCTL2]
const EXP_STATUS_CLEARING = 0x000f

/**
 * Lays both lists out anew.
 * @returns the capabilities that the guest sees of the standard list
 */
export function showCapabilities(
  registers: ConfigRegisters,
  config: PciConfig,
  hide: HideCapability,
  events: CapabilityEvents,
): Capability[] {
  const found = config.capabilities()
  const shown = found.filter((capability) => isForGuests(capability) && !hide(capability))
  // Registers outside every capability are the device's own, and its driver knows them.
  registers.pass(FIRST, Math.min(registers.size, regs.PCI_CFG_SPACE_SIZE) - FIRST)
  for (const capability of found) {
    const { offset } = capability
    const end = endOf(capability, found, registers.size)
    seal(registers, offset, end)
    if (!shown.includes(capability)) registers.hide(offset, Math.min(end - offset, lengthOf(capability)))
  }
  link(registers, shown)
  for (const capability of shown) open(registers, capability, events)
  if (registers.size > regs.PCI_CFG_SPACE_SIZE) {
    const extended = config.extendedCapabilities()
    linkExtended(
      registers,
      extended,
      extended.filter((capability) => extendedForGuests(capability) > 0 && !hide(capability)),
    )
  }
  return shown
}

/** Most capabilities do not say how long they are: at the latest they end where the next begins. */
function endOf({ offset }: Capability, all: readonly Capability[], size: number): number {
  const behind = all.map((each) => each.offset).filter((each) => each > offset)
  return Math.min(size, regs.PCI_CFG_SPACE_SIZE, ...behind)
}

/** How many bytes are the capability's, where that is known; the device's own registers may follow. */
function lengthOf(capability: Capability): number {
  switch (capability.name) {
    case 'vndr':
      return capability.length
    case 'msi':
      return (
        (capability.is64Bit ? MSI_LENGTH_64 : MSI_LENGTH_32) + (capability.maskable ? MSI_LENGTH_MASKS : 0)
      )
    default:
      return LENGTHS[capability.name] ?? Infinity
  }
}

const MSI_LENGTH_32 = 10
const MSI_LENGTH_64 = 14
const MSI_LENGTH_MASKS = 10
const LENGTHS: Partial<Record<Capability['name'], number>> = {
  null: 4,
  pm: 8,
  agp: 12,
  vpd: 8,
  slotId: 4,
  chswp: 4,
  dbg: 4,
  ccrc: 4,
  shpc: 8,
  ssvid: 8,
  agp3: 12,
  exp: 60,
  msix: 12,
  sata: 8,
  af: 6,
}

/** Nothing in it can be written, until it is opened. */
function seal(registers: ConfigRegisters, offset: number, end: number): void {
  for (let at = offset; at < end; at++) registers.define(at, 1, {})
}

function link(registers: ConfigRegisters, shown: readonly Capability[]): void {
  const pointers = [regs.PCI_CAPABILITY_LIST, ...shown.map(({ offset }) => offset + regs.PCI_CAP_LIST_NEXT)]
  pointers.forEach((pointer, i) => {
    registers.define(pointer, 1, { virtual: 0xff, value: shown[i]?.offset ?? 0 })
  })
  registers.define(regs.PCI_STATUS, 2, {
    virtual: regs.PCI_STATUS_CAP_LIST,
    value: shown.length > 0 ? regs.PCI_STATUS_CAP_LIST : 0,
    writable: STATUS_ERRORS,
    clearing: STATUS_ERRORS,
  })
}

const STATUS_ERRORS = 0xf900

function linkExtended(
  registers: ConfigRegisters,
  all: readonly ExtendedCapability[],
  shown: readonly ExtendedCapability[],
): void {
  // Whatever lies outside of what is shown may be the host's.
  registers.hide(regs.PCI_CFG_SPACE_SIZE, registers.size - regs.PCI_CFG_SPACE_SIZE)
  for (const capability of shown) {
    const { offset } = capability
    const behind = all.map((each) => each.offset).filter((each) => each > offset)
    seal(registers, offset, Math.min(offset + extendedForGuests(capability), registers.size, ...behind))
  }
  const [first] = shown
  // The list begins at 0x100: where the capability there is hidden, a null one points on.
  registers.define(regs.PCI_CFG_SPACE_SIZE, 4, {
    virtual: 0xffff_ffff,
    value: first === undefined ? 0 : first.offset * 2 ** 20,
  })
  shown.forEach(({ offset, id, version }, i) => {
    const next = shown[i + 1]?.offset ?? 0
    registers.define(offset, 4, { virtual: 0xffff_ffff, value: id + version * 2 ** 16 + next * 2 ** 20 })
  })
}

type Opener = (registers: ConfigRegisters, capability: never, events: CapabilityEvents) => void

const OPENERS: Partial<Record<Capability['name'], Opener>> = {
  pm: openPm,
  exp: openExp,
  af: openAf,
  vndr: openWhole,
  vpd: openWhole,
  sata: openWhole,
}

function open(registers: ConfigRegisters, capability: Capability, events: CapabilityEvents): void {
  if (EMULATED.has(capability.name)) return
  OPENERS[capability.name]?.(registers, capability as never, events)
}

function openPm(registers: ConfigRegisters, { offset }: PmCapability, events: CapabilityEvents): void {
  // Nobody would take a PME to the guest.
  registers.define(offset + regs.PCI_PM_PMC, 2, { virtual: PM_PME_MASK })
  registers.define(offset + regs.PCI_PM_CTRL, 2, {
    virtual: regs.PCI_PM_CTRL_PME_ENABLE | regs.PCI_PM_CTRL_PME_STATUS,
    writable: regs.PCI_PM_CTRL_STATE_MASK,
  })
  registers.hook(offset + regs.PCI_PM_CTRL, 2, (value, _previous, commit) => {
    events.power(value & regs.PCI_PM_CTRL_STATE_MASK, commit)
  })
}

const PM_PME_MASK = 0xf800

function openExp(registers: ConfigRegisters, capability: ExpCapability, events: CapabilityEvents): void {
  const { offset, version } = capability
  for (const control of version >= 2 ? [...EXP_CONTROL, ...EXP_CONTROL_2] : EXP_CONTROL)
    registers.define(offset + control, 2, { writable: 0xffff })
  registers.define(offset + regs.PCI_EXP_DEVSTA, 2, {
    writable: EXP_STATUS_CLEARING,
    clearing: EXP_STATUS_CLEARING,
  })
  if (!capability.deviceCapabilities.flr) return
  hookReset(registers, offset + regs.PCI_EXP_DEVCTL, 2, FLR_BIT.exp, events)
}

function openAf(registers: ConfigRegisters, { offset, flr }: AfCapability, events: CapabilityEvents): void {
  // A bit that means nothing: what is written to it goes nowhere.
  if (!flr) return
  registers.define(offset + regs.PCI_AF_CTRL, 1, { writable: FLR_BIT.af })
  hookReset(registers, offset + regs.PCI_AF_CTRL, 1, FLR_BIT.af, events)
}

function hookReset(
  registers: ConfigRegisters,
  register: number,
  width: 1 | 2,
  bit: number,
  events: CapabilityEvents,
): void {
  registers.hook(register, width, (value, _previous, commit) => {
    if ((value & bit) === 0) commit()
    else events.reset(commit)
  })
}

/** Lengths in bytes of what is given to the guest whole. */
const WHOLE: Partial<Record<Capability['name'], number>> = { vpd: 8, sata: 8 }

function openWhole(registers: ConfigRegisters, capability: Capability): void {
  const length = capability.name === 'vndr' ? capability.length : (WHOLE[capability.name] ?? 0)
  if (length > 2) {
    const end = Math.min(capability.offset + length, registers.size)
    registers.pass(capability.offset + 2, Math.max(0, end - capability.offset - 2))
  }
}
