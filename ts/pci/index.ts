// What the PCI folder offers to the rest of the library and to its users. Nothing is defined here.

export { type IoBar, type MemoryBar, type PciBar } from './bars.js'
export type {
  AfCapability,
  BarRange,
  Capability,
  MsiCapability,
  MsixCapability,
  PlainCapability,
  PmCapability,
  PowerState,
  SsvidCapability,
  VndrCapability,
} from './capabilities.js'
export type { CapabilityHeader, ExtendedCapabilityHeader } from './capability-header.js'
export type { CapabilityName, ExtendedCapabilityName } from './capability-names.js'
export { PciCommand } from './command.js'
export { type InterruptPin, type PciClassCode, PciConfig, type PciStatus } from './config.js'
export type { ConfigSpace } from './config-space.js'
export type {
  AcsCapability,
  AcsControls,
  AriCapability,
  AtsCapability,
  DsnCapability,
  DvsecCapability,
  ErrCapability,
  ExtendedCapability,
  ExtendedVndrCapability,
  PasidCapability,
  PlainExtendedCapability,
  PriCapability,
  RebarCapability,
  SriovCapability,
} from './extended-capabilities.js'
export type { ExpCapability, ExpDeviceType, ExpLink } from './express.js'
export { className, vendorName } from './names.js'
export type { ConfigProblem, ConfigProblemKind } from './walk.js'
