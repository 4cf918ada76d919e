// The extensions that KVM can be asked for, by the names of linux/kvm.h without KVM_CAP_.
import { oneOf } from '../../validate.js'

export const CAPABILITIES = {
  IRQCHIP: 0,
  HLT: 1,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  PIT: 11,
  MP_STATE: 14,
  COALESCED_MMIO: 15,
  SYNC_MMU: 16,
  IOMMU: 18,
  DESTROY_MEMORY_REGION_WORKS: 21,
  IRQ_ROUTING: 25,
  IRQ_INJECT_STATUS: 26,
  JOIN_MEMORY_REGIONS_WORKS: 30,
  IRQFD: 32,
  PIT2: 33,
  SET_BOOT_CPU_ID: 34,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  VCPU_EVENTS: 41,
  X2APIC: 47,
  XSAVE: 55,
  MAX_VCPUS: 66,
  TSC_DEADLINE_TIMER: 72,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  IRQFD_RESAMPLE: 82,
  DEVICE_CTRL: 89,
  IOEVENTFD_NO_LENGTH: 100,
  VM_ATTRIBUTES: 101,
  CHECK_EXTENSION_VM: 105,
  SPLIT_IRQCHIP: 121,
  IOEVENTFD_ANY_LENGTH: 122,
  MAX_VCPU_ID: 128,
  X2APIC_API: 129,
  MSI_DEVID: 131,
  IMMEDIATE_EXIT: 136,
  MANUAL_DIRTY_LOG_PROTECT2: 168,
  DIRTY_LOG_RING: 192,
  BINARY_STATS_FD: 203,
  MEMORY_FAULT_INFO: 232,
} as const

/** An extension's name. */
export type Capability = keyof typeof CAPABILITIES

/** A name's number, or the number itself for extensions that this package has no name for. */
export function capabilityNumber(capability: Capability | number): number {
  if (typeof capability === 'number') {
    if (Number.isInteger(capability) && capability >= 0 && capability <= 0xffff_ffff) return capability
    throw new RangeError(`capability must be a whole number from 0 to 4294967295, not ${String(capability)}`)
  }
  return CAPABILITIES[oneOf(capability, 'capability', Object.keys(CAPABILITIES) as Capability[])]
}
