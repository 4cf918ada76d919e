// What it means when KVM refuses a call, by the call and the errno alone. Knows nothing of the objects.

interface Refusal {
  reason?: 'permission'
  remedy: string
}

const REFUSALS: Record<string, Refusal> = {
  'KVM_CREATE_VM EBUSY': {
    remedy:
      "Another hypervisor of this host (VirtualBox, VMware) has the processor's virtualization: stop it.",
  },
  'KVM_CREATE_IRQCHIP EEXIST': { remedy: 'The machine has its chip already.' },
  'KVM_CREATE_IRQCHIP EINVAL': { remedy: 'The chip comes before the first vCPU: make a machine anew.' },
  'KVM_CAP_SPLIT_IRQCHIP EINVAL': {
    remedy: 'The split chip (Linux 4.4) comes before the first vCPU, and instead of the full one.',
  },
  'KVM_CREATE_PIT2 EEXIST': { remedy: 'The machine has its timer already.' },
  'KVM_SET_TSS_ADDR EINVAL': { remedy: 'The three pages must lie below 4 GiB.' },
  'KVM_SET_IDENTITY_MAP_ADDR EINVAL': { remedy: 'It is set before the first vCPU: make a machine anew.' },
  'KVM_CREATE_VCPU EEXIST': { remedy: 'The machine has a vCPU of that id: take another.' },
  'KVM_CREATE_VCPU EINVAL': {
    remedy:
      'The id is above what the machine takes (KVM_CAP_MAX_VCPU_ID), or it has all its vCPUs (KVM_CAP_MAX_VCPUS).',
  },
  'KVM_SET_USER_MEMORY_REGION EINVAL': {
    remedy:
      'Memory comes in whole pages, inside what the guest can address, and a slot changes neither its size nor whether it is read-only.',
  },
  'KVM_SET_GSI_ROUTING EINVAL': {
    remedy:
      "The table takes pins of a chip that the machine has, GSIs below its limit (routing.limit), and messages to an APIC's address.",
  },
  'KVM_IRQFD EINVAL': {
    remedy:
      'An irqfd needs a chip in the kernel, and one that resamples a pin of it (GSI below 24, full chip).',
  },
  'KVM_IOEVENTFD EINVAL': {
    remedy: 'A doorbell is 1, 2, 4 or 8 bytes, or any length without a match, and does not wrap around.',
  },
  'KVM_IOEVENTFD ENOSPC': { remedy: 'A machine takes 1000 doorbells and devices per bus: close some.' },
  'KVM_SIGNAL_MSI EINVAL': { remedy: "A message needs APICs in the kernel: irqchip 'full' or 'split'." },
  'KVM_IRQ_LINE EINVAL': { remedy: 'A line needs a chip in the kernel and a pin that the GSI is routed to.' },
  'KVM_IRQ_LINE ENXIO': { remedy: "A line needs the chip in the kernel: irqchip 'full'." },
  'KVM_SET_CPUID2 EINVAL': {
    remedy:
      'CPUID is set before the first run() and stays (Linux 5.16), and widths of addresses must be possible: begin with kvm.supportedCpuid().',
  },
  'KVM_SET_CPUID2 EPERM': {
    reason: 'permission',
    remedy:
      'The list offers the guest AMX (leaf 0xd, bit 18: XTILEDATA), for which the process has no permission: arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), or clear those bits.',
  },
  'KVM_SET_CPUID2 E2BIG': {
    remedy: 'KVM takes 256 entries at most: leave out what the guest need not know.',
  },
  'KVM_SET_REGS EINVAL': {
    remedy: 'The state of this vCPU is protected, or a register has bits that are reserved.',
  },
  'KVM_SET_SREGS EINVAL': {
    remedy:
      'CR0, CR4 and EFER must agree (long mode: PG, PAE, LME and LMA together), and have no bit that CPUID does not offer.',
  },
  'KVM_SET_MP_STATE EINVAL': {
    remedy:
      'Without APICs in the kernel only 0 (runnable) is a state, and 4 (SIPI received) can never be set.',
  },
  'KVM_GET_LAPIC EINVAL': { remedy: "A local APIC needs a chip in the kernel: irqchip 'full' or 'split'." },
  'KVM_SET_LAPIC EINVAL': { remedy: "A local APIC needs a chip in the kernel: irqchip 'full' or 'split'." },
  'KVM_SET_XSAVE EINVAL': {
    remedy:
      "The area names components that the host's processor does not have, or reserved bits of MXCSR are set: begin with what vcpu.state.xsave gives.",
  },
  'KVM_SET_XCRS EINVAL': {
    remedy:
      'XCR0 has x87 (bit 0) always, and only components that CPUID leaf 0xd offers the guest: set CPUID first.',
  },
  'KVM_SET_VCPU_EVENTS EINVAL': {
    remedy:
      'An exception is 0 to 31 and not 2 (NMI), of injected and pending one at most, and SMM needs KVM_CAP_X86_SMM.',
  },
  'KVM_SET_DEBUGREGS EINVAL': { remedy: 'The upper halves of DR6 and DR7 are reserved.' },
  'KVM_SET_GUEST_DEBUG EBUSY': {
    remedy: 'An exception waits to be delivered: run the vCPU before one is put in.',
  },
  'KVM_INTERRUPT ENXIO': {
    remedy:
      "The kernel's local APIC delivers interrupts: send a message (vm.signalMsi), raise a line, or make the machine with irqchip 'none'.",
  },
  'KVM_INTERRUPT EEXIST': {
    remedy: 'One waits already: ask for the window (interrupts.windowRequested) and run.',
  },
  'KVM_GET_CLOCK ENOTTY': { remedy: 'This KVM has no clock for guests.' },
  'KVM_SET_CLOCK EINVAL': { remedy: 'A time of day needs Linux 5.16 (KVM_CAP_ADJUST_CLOCK, bit 2).' },
  'KVM_GET_PIT2 ENXIO': { remedy: "The machine has no timer: createVm({ irqchip: 'full', pit: true })." },
  'KVM_SET_PIT2 ENXIO': { remedy: "The machine has no timer: createVm({ irqchip: 'full', pit: true })." },
  'KVM_REINJECT_CONTROL ENXIO': {
    remedy: "The machine has no timer: createVm({ irqchip: 'full', pit: true }).",
  },
  'KVM_GET_IRQCHIP ENXIO': { remedy: "PICs and IOAPIC are in the kernel with irqchip 'full' only." },
  'KVM_SET_IRQCHIP ENXIO': { remedy: "PICs and IOAPIC are in the kernel with irqchip 'full' only." },
  'KVM_SET_TSC_KHZ EINVAL': {
    remedy:
      "Another frequency than the host's needs a processor that scales it (KVM_CAP_TSC_CONTROL), and one within its range.",
  },
  'KVM_SET_TSC_KHZ ENOTTY': {
    remedy:
      'Of a machine it is set from Linux 5.19 on, where the processor scales it (KVM_CAP_VM_TSC_CONTROL), before the first vCPU.',
  },
  'KVM_VCPU_TSC_OFFSET ENXIO': { remedy: 'The offset can be set from Linux 5.16 on.' },
  'KVM_VCPU_TSC_OFFSET ENOTTY': { remedy: 'The offset can be set from Linux 5.16 on.' },
  'KVM_X86_SET_MSR_FILTER ENOTTY': { remedy: 'Filters come with Linux 5.10 (KVM_CAP_X86_MSR_FILTER).' },
  'KVM_GET_MSR_FEATURE_INDEX_LIST ENOTTY': {
    remedy: 'Feature registers are listed from Linux 4.17 on (KVM_CAP_GET_MSR_FEATURES).',
  },
  'KVM_RUN EINVAL': {
    remedy:
      'The vCPU cannot run as it is set up: look at its mpState, and at what of kvm_run was written to.',
  },
  'KVM_DEV_VFIO_FILE_ADD EINVAL': { remedy: 'The descriptor is of no VFIO group or device.' },
  'KVM_DEV_VFIO_FILE_ADD EEXIST': { remedy: 'The machine knows the file by another descriptor already.' },
  'KVM_DEV_VFIO_FILE_ADD ENODEV': { remedy: 'This kernel has no KVM-VFIO device (CONFIG_KVM_VFIO).' },
  'KVM_DEV_VFIO_FILE_DEL ENOENT': { remedy: 'The machine was not told of it, or by another descriptor.' },
  'KVM_GET_STATS_FD ENOTTY': { remedy: 'The kernel has statistics of KVM from Linux 5.14 on.' },
  'KVM_GET_SUPPORTED_CPUID ENODEV': {
    remedy: 'A machine that came as a descriptor has no /dev/kvm to ask: use kvm.supportedCpuid().',
  },
}

/** For every call of KVM. */
const ANY: Record<string, Refusal> = {
  EPERM: {
    reason: 'permission',
    remedy:
      'The kernel or a sandbox (seccomp, SELinux, AppArmor, lockdown) forbids this process the call: see the profile of the container or unit, and dmesg.',
  },
  EINVAL: {
    remedy:
      "KVM does not take these arguments as the machine stands: Documentation/virt/kvm/api.rst of the kernel's sources lists when.",
  },
  EIO: {
    remedy:
      'A machine obeys the process that made it only (fork and passed descriptors included), and none once it is broken: see dmesg.',
  },
}

/** What is known of a refusal. */
export function kvmRefusal(call: string, code: string): Refusal | undefined {
  return REFUSALS[`${call} ${code}`] ?? ANY[code]
}
