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
export { Kvm } from './kvm.js'
export { type AddMemoryOptions, MemorySlot } from './memory-slot.js'
export {
  type DescriptorTable,
  type Registers,
  type Segment,
  type SpecialRegisters,
} from '../uapi/kvm/registers.js'
export {
  GsiRouting,
  type InterruptPin,
  type MsiMessage,
  type MsiRoute,
  type PinRoute,
  type RouteChanges,
} from './routing.js'
export { type Statistics } from '../uapi/kvm/statistics.js'
export { type Topology, withTopology } from './topology.js'
export { Vcpu } from './vcpu.js'
export type { VmVfio } from './vfio-files.js'
export { type IrqchipKind, type MemoryChange, Vm, type VmOptions } from './vm.js'
export { type IoeventfdOptions, type Irqfd, type IrqfdOptions } from './wires.js'
