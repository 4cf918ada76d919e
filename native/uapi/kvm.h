// The KVM interface of <linux/kvm.h> and <asm/kvm.h> for x86-64 as of Linux 7.2: numbers and structures of what is used
// here. Written here for the reason given in vfio.h.
#pragma once

#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace nodevfio::uapi {

inline constexpr unsigned kKvmType = 0xae;

struct KvmUserspaceMemoryRegion {
  uint32_t slot;
  uint32_t flags;
  uint64_t guest_phys_addr;
  uint64_t memory_size;  // 0 removes the slot
  uint64_t userspace_addr;
};
static_assert(sizeof(KvmUserspaceMemoryRegion) == 32);

inline constexpr uint32_t kMemLogDirtyPages = 1U << 0;
inline constexpr uint32_t kMemReadonly = 1U << 1;

struct KvmDirtyLog {
  uint32_t slot;
  uint32_t padding;
  uint64_t bitmap;  // its address
};
static_assert(sizeof(KvmDirtyLog) == 16);

struct KvmIrqLevel {
  uint32_t irq;  // in: the GSI; out: whether it was delivered
  uint32_t level;
};
static_assert(sizeof(KvmIrqLevel) == 8);

inline constexpr uint32_t kRouteIrqchip = 1;  // KVM_IRQ_ROUTING_IRQCHIP
inline constexpr uint32_t kRouteMsi = 2;      // KVM_IRQ_ROUTING_MSI

inline constexpr uint32_t kIrqchipPicMaster = 0;
inline constexpr uint32_t kIrqchipPicSlave = 1;
inline constexpr uint32_t kIrqchipIoapic = 2;

struct KvmIrqRoutingEntry {
  uint32_t gsi;
  uint32_t type;
  uint32_t flags;
  uint32_t pad;
  union {
    struct {
      uint32_t irqchip;
      uint32_t pin;
    } irqchip;
    struct {
      uint32_t address_lo;
      uint32_t address_hi;
      uint32_t data;
      uint32_t pad;
    } msi;
    uint32_t padding[8];
  } u;
};
static_assert(sizeof(KvmIrqRoutingEntry) == 48 && offsetof(KvmIrqRoutingEntry, u) == 16);

struct KvmIrqRouting {
  uint32_t nr;
  uint32_t flags;
  // KvmIrqRoutingEntry entries[]
};
static_assert(sizeof(KvmIrqRouting) == 8);

struct KvmMsi {
  uint32_t address_lo;
  uint32_t address_hi;
  uint32_t data;
  uint32_t flags;
  uint32_t devid;
  uint8_t pad[12];
};
static_assert(sizeof(KvmMsi) == 32);

inline constexpr uint32_t kIrqfdDeassign = 1U << 0;  // KVM_IRQFD_FLAG_DEASSIGN
inline constexpr uint32_t kIrqfdResample = 1U << 1;  // KVM_IRQFD_FLAG_RESAMPLE

struct KvmIrqfd {
  uint32_t fd;
  uint32_t gsi;
  uint32_t flags;
  uint32_t resamplefd;
  uint8_t pad[16];
};
static_assert(sizeof(KvmIrqfd) == 32);

inline constexpr uint32_t kIoeventfdDatamatch = 1U << 0;  // KVM_IOEVENTFD_FLAG_DATAMATCH
inline constexpr uint32_t kIoeventfdPio = 1U << 1;        // KVM_IOEVENTFD_FLAG_PIO
inline constexpr uint32_t kIoeventfdDeassign = 1U << 2;   // KVM_IOEVENTFD_FLAG_DEASSIGN

struct KvmIoeventfd {
  uint64_t datamatch;
  uint64_t addr;
  uint32_t len;
  int32_t fd;
  uint32_t flags;
  uint8_t pad[36];
};
static_assert(sizeof(KvmIoeventfd) == 64);

struct KvmPitConfig {
  uint32_t flags;
  uint32_t pad[15];
};
static_assert(sizeof(KvmPitConfig) == 64);

// The PC speaker's port answers too: guests that calibrate their clock by it hang otherwise.
inline constexpr uint32_t kPitSpeakerDummy = 1;

struct KvmEnableCap {
  uint32_t cap;
  uint32_t flags;
  uint64_t args[4];
  uint8_t pad[64];
};
static_assert(sizeof(KvmEnableCap) == 104);

struct KvmCpuidEntry {  // kvm_cpuid_entry2
  uint32_t function;
  uint32_t index;
  uint32_t flags;
  uint32_t eax;
  uint32_t ebx;
  uint32_t ecx;
  uint32_t edx;
  uint32_t padding[3];
};
static_assert(sizeof(KvmCpuidEntry) == 40);

struct KvmCpuid {  // kvm_cpuid2
  uint32_t nent;
  uint32_t padding;
  // KvmCpuidEntry entries[]
};
static_assert(sizeof(KvmCpuid) == 8);

struct KvmCreateDevice {
  uint32_t type;
  uint32_t fd;  // out
  uint32_t flags;
};
static_assert(sizeof(KvmCreateDevice) == 12);

struct KvmDeviceAttr {
  uint32_t flags;
  uint32_t group;
  uint64_t attr;
  uint64_t addr;
};
static_assert(sizeof(KvmDeviceAttr) == 24);

inline constexpr uint32_t kDevTypeVfio = 4;
// KVM_DEV_VFIO_FILE, named GROUP until Linux 6.4 taught it to take a device's own file too.
inline constexpr uint32_t kDevVfioFile = 1;
inline constexpr uint64_t kDevVfioFileAdd = 1;
inline constexpr uint64_t kDevVfioFileDel = 2;

struct KvmRegs {
  uint64_t rax, rbx, rcx, rdx;
  uint64_t rsi, rdi, rsp, rbp;
  uint64_t r8, r9, r10, r11;
  uint64_t r12, r13, r14, r15;
  uint64_t rip, rflags;
};
static_assert(sizeof(KvmRegs) == 144);

// The bytes are laid out in TypeScript (ts/kvm/registers.ts).
struct KvmSregs {
  uint8_t bytes[312];
};

struct KvmMpState {
  uint32_t mp_state;
};

// The start of the page that KVM_RUN and its caller share; what follows depends on exit_reason.
struct KvmRun {  // kvm_run, its start
  uint8_t request_interrupt_window;
  uint8_t immediate_exit;
  uint8_t padding1[6];
  uint32_t exit_reason;
  uint8_t ready_for_interrupt_injection;
  uint8_t if_flag;
  uint16_t flags;
  uint64_t cr8;
  uint64_t apic_base;
  union {
    struct {
      uint64_t flags;
      uint64_t gpa;
      uint64_t size;
    } memory_fault;
    uint8_t padding[256];
  } exit;
};
static_assert(offsetof(KvmRun, exit_reason) == 8 && offsetof(KvmRun, exit) == 32);

struct KvmStatsHeader {
  uint32_t flags;
  uint32_t name_size;
  uint32_t num_desc;
  uint32_t id_offset;
  uint32_t desc_offset;
  uint32_t data_offset;
};
static_assert(sizeof(KvmStatsHeader) == 24);

// /dev/kvm
inline constexpr unsigned long kKvmGetApiVersion = _IO(kKvmType, 0x00);
inline constexpr unsigned long kKvmCreateVm = _IO(kKvmType, 0x01);
inline constexpr unsigned long kKvmCheckExtension = _IO(kKvmType, 0x03);
inline constexpr unsigned long kKvmGetVcpuMmapSize = _IO(kKvmType, 0x04);
inline constexpr unsigned long kKvmGetSupportedCpuid = _IOWR(kKvmType, 0x05, KvmCpuid);
// VM
inline constexpr unsigned long kKvmCreateVcpu = _IO(kKvmType, 0x41);
inline constexpr unsigned long kKvmGetDirtyLog = _IOW(kKvmType, 0x42, KvmDirtyLog);
inline constexpr unsigned long kKvmSetUserMemoryRegion = _IOW(kKvmType, 0x46, KvmUserspaceMemoryRegion);
inline constexpr unsigned long kKvmSetTssAddr = _IO(kKvmType, 0x47);
inline constexpr unsigned long kKvmSetIdentityMapAddr = _IOW(kKvmType, 0x48, uint64_t);
inline constexpr unsigned long kKvmCreateIrqchip = _IO(kKvmType, 0x60);
inline constexpr unsigned long kKvmIrqLineStatus = _IOWR(kKvmType, 0x67, KvmIrqLevel);
inline constexpr unsigned long kKvmSetGsiRouting = _IOW(kKvmType, 0x6a, KvmIrqRouting);
inline constexpr unsigned long kKvmIrqfd = _IOW(kKvmType, 0x76, KvmIrqfd);
inline constexpr unsigned long kKvmCreatePit2 = _IOW(kKvmType, 0x77, KvmPitConfig);
inline constexpr unsigned long kKvmIoeventfd = _IOW(kKvmType, 0x79, KvmIoeventfd);
inline constexpr unsigned long kKvmEnableCap = _IOW(kKvmType, 0xa3, KvmEnableCap);
inline constexpr unsigned long kKvmSignalMsi = _IOW(kKvmType, 0xa5, KvmMsi);
inline constexpr unsigned long kKvmCreateDevice = _IOWR(kKvmType, 0xe0, KvmCreateDevice);
inline constexpr unsigned long kKvmSetDeviceAttr = _IOW(kKvmType, 0xe1, KvmDeviceAttr);
// vCPU
inline constexpr unsigned long kKvmRun = _IO(kKvmType, 0x80);
inline constexpr unsigned long kKvmGetRegs = _IOR(kKvmType, 0x81, KvmRegs);
inline constexpr unsigned long kKvmSetRegs = _IOW(kKvmType, 0x82, KvmRegs);
inline constexpr unsigned long kKvmGetSregs = _IOR(kKvmType, 0x83, KvmSregs);
inline constexpr unsigned long kKvmSetSregs = _IOW(kKvmType, 0x84, KvmSregs);
inline constexpr unsigned long kKvmSetCpuid = _IOW(kKvmType, 0x90, KvmCpuid);   // KVM_SET_CPUID2
inline constexpr unsigned long kKvmGetCpuid = _IOWR(kKvmType, 0x91, KvmCpuid);  // KVM_GET_CPUID2
inline constexpr unsigned long kKvmGetMpState = _IOR(kKvmType, 0x98, KvmMpState);
inline constexpr unsigned long kKvmSetMpState = _IOW(kKvmType, 0x99, KvmMpState);
// VM and vCPU
inline constexpr unsigned long kKvmGetStatsFd = _IO(kKvmType, 0xce);

inline constexpr int kKvmApiVersion = 12;
inline constexpr uint32_t kCapNrMemslots = 10;
inline constexpr uint32_t kCapIrqRouting = 25;
inline constexpr uint32_t kCapSplitIrqchip = 121;
inline constexpr uint32_t kExitMemoryFault = 39;

}  // namespace nodevfio::uapi
