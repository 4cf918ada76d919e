// The public surface of node-vfio/kvm.
export { type Capability } from '../uapi/kvm/capabilities.js'
export { type CpuidEntry } from '../uapi/kvm/cpuid.js'
export {
  type FailEntryExit,
  type InternalError,
  type InternalErrorExit,
  type IoExit,
  type MmioExit,
  type VcpuExit,
} from '../uapi/kvm/exits.js'
export {
  type DebugExit,
  type HypercallExit,
  type MemoryFaultExit,
  type MoreExit,
  type MsrCause,
  type MsrReadExit,
  type MsrWriteExit,
} from '../uapi/kvm/more-exits.js'
export { type KvmClock, type KvmClockSetting } from '../uapi/kvm/clock.js'
export { type DebugRegisters, type GuestDebug, type HardwareBreakpoint } from '../uapi/kvm/debug.js'
export {
  type InjectedInterrupt,
  type NmiState,
  type PendingException,
  type SmiState,
  type VcpuEventChanges,
  type VcpuEvents,
} from '../uapi/kvm/events.js'
export { type ExtendedControl, type FpuState, type XsaveArea } from '../uapi/kvm/fpu.js'
export { type IoapicState, type PicState } from '../uapi/kvm/irqchips.js'
export { LAPIC, LapicState } from '../uapi/kvm/lapic.js'
export { MSR, type MsrEntry, type MsrFilterRange, firmwareMtrrs } from '../uapi/kvm/msrs.js'
export { type PitChannel, type PitState } from '../uapi/kvm/pit.js'
export { VcpuInterrupts } from './state/interrupts.js'
export { type MsrFilter, VcpuMsrs } from './state/msrs.js'
export { VcpuTsc } from './state/tsc.js'
export { VcpuState } from './state/vcpu-state.js'
export { VmState } from './state/vm-state.js'
export {
  type ApicMessage,
  type MsiMessage,
  type WideApicIdOptions,
  apicMessage,
  withExtendedDestinationIds,
} from './apic-ids.js'
export { type CoalescedWrite } from '../uapi/kvm/coalesced.js'
export { type CoalescedZone, type CoalescedZoneOptions } from './coalesced.js'
export { DirtyRing, type DirtyPage, type DirtyRingOptions } from './dirty-ring.js'
export { GuestMemfd, type GuestMemfdOptions, type MemoryAttributes } from './guest-memfd.js'
export { Kvm } from './kvm.js'
export { type AddMemoryOptions, MemorySlot } from './memory-slot.js'
export {
  type DescriptorTable,
  type Registers,
  type Segment,
  type SpecialRegisters,
} from '../uapi/kvm/registers.js'
export { GsiRouting, type InterruptPin, type MsiRoute, type PinRoute, type RouteChanges } from './routing.js'
export { type Statistics } from '../uapi/kvm/statistics.js'
export { type Topology, withTopology } from './topology.js'
export { Vcpu } from './vcpu.js'
export type { VmVfio } from './vfio-files.js'
export { type IrqchipKind, type MemoryChange, Vm, type VmOptions } from './vm.js'
export { type IoeventfdOptions, type Irqfd, type IrqfdOptions } from './wires.js'
