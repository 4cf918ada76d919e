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

// -- State: structures that are laid out in TypeScript (ts/uapi/kvm), here by their size. --

struct KvmFpu {
  uint8_t bytes[416];
};
struct KvmXsave {  // its start: 4096 bytes, or as many as KVM_CAP_XSAVE2 says
  uint8_t bytes[4096];
};
struct KvmXcrs {
  uint8_t bytes[392];
};
struct KvmLapicState {
  uint8_t regs[1024];
};
struct KvmVcpuEvents {
  uint8_t bytes[64];
};
struct KvmDebugregs {
  uint8_t bytes[128];
};
struct KvmGuestDebug {
  uint8_t bytes[72];
};
struct KvmClockData {
  uint8_t bytes[48];
};
// Two of its bytes are padding of the kernel's, which it neither reads nor clears.
struct KvmPitState2 {
  uint8_t bytes[112];
};

struct KvmIrqchip {
  uint32_t chip_id;
  uint32_t pad;
  uint8_t chip[512];
};
static_assert(sizeof(KvmIrqchip) == 520);

struct KvmReinjectControl {
  uint8_t pit_reinject;
  uint8_t reserved[31];
};
static_assert(sizeof(KvmReinjectControl) == 32);

struct KvmMsrEntry {
  uint32_t index;
  uint32_t reserved;
  uint64_t data;
};
static_assert(sizeof(KvmMsrEntry) == 16);

struct KvmMsrs {
  uint32_t nmsrs;
  uint32_t pad;
  // KvmMsrEntry entries[]
};
static_assert(sizeof(KvmMsrs) == 8);

struct KvmMsrList {
  uint32_t nmsrs;
  // uint32_t indices[]
};
static_assert(sizeof(KvmMsrList) == 4);

inline constexpr uint32_t kMsrFilterMaxRanges = 16;
// Of a range's bitmap, in bytes.
inline constexpr uint32_t kMsrFilterMaxBitmapSize = 0x600;

struct KvmMsrFilterRange {
  uint32_t flags;
  uint32_t nmsrs;
  uint32_t base;
  uint64_t bitmap;  // its address
};
static_assert(sizeof(KvmMsrFilterRange) == 24);

struct KvmMsrFilter {
  uint32_t flags;
  KvmMsrFilterRange ranges[kMsrFilterMaxRanges];
};
static_assert(sizeof(KvmMsrFilter) == 392);

// Of KVM_*_DEVICE_ATTR on a vCPU.
inline constexpr uint32_t kVcpuTscCtrl = 0;    // KVM_VCPU_TSC_CTRL
inline constexpr uint64_t kVcpuTscOffset = 0;  // KVM_VCPU_TSC_OFFSET

struct KvmInterrupt {
  uint32_t irq;
};

struct KvmCoalescedMmioZone {
  uint64_t addr;
  uint32_t size;
  uint32_t pio;
};
static_assert(sizeof(KvmCoalescedMmioZone) == 16);

struct KvmCoalescedMmio {
  uint64_t phys_addr;
  uint32_t len;
  uint32_t pio;
  uint8_t data[8];
};
static_assert(sizeof(KvmCoalescedMmio) == 24);

struct KvmCoalescedMmioRing {
  uint32_t first;  // the consumer's
  uint32_t last;   // the kernel's
  // KvmCoalescedMmio coalesced_mmio[]
};
static_assert(sizeof(KvmCoalescedMmioRing) == 8);

// Pages of a vCPU's mapping.
inline constexpr uint64_t kCoalescedMmioPageOffset = 2;
inline constexpr uint64_t kDirtyLogPageOffset = 64;

struct KvmDirtyGfn {
  uint32_t flags;
  uint32_t slot;
  uint64_t offset;
};
static_assert(sizeof(KvmDirtyGfn) == 16);

inline constexpr uint32_t kDirtyGfnDirty = 1U << 0;  // KVM_DIRTY_GFN_F_DIRTY
inline constexpr uint32_t kDirtyGfnReset = 1U << 1;  // KVM_DIRTY_GFN_F_RESET

struct KvmMemoryAttributes {
  uint64_t address;
  uint64_t size;
  uint64_t attributes;
  uint64_t flags;
};
static_assert(sizeof(KvmMemoryAttributes) == 32);

struct KvmCreateGuestMemfd {
  uint64_t size;
  uint64_t flags;
  uint64_t reserved[6];
};
static_assert(sizeof(KvmCreateGuestMemfd) == 64);

struct KvmUserspaceMemoryRegion2 {
  uint32_t slot;
  uint32_t flags;
  uint64_t guest_phys_addr;
  uint64_t memory_size;
  uint64_t userspace_addr;
  uint64_t guest_memfd_offset;
  uint32_t guest_memfd;
  uint32_t pad1;
  uint64_t pad2[14];
};
static_assert(sizeof(KvmUserspaceMemoryRegion2) == 160);

inline constexpr uint32_t kMemGuestMemfd = 1U << 2;

// /dev/kvm
inline constexpr unsigned long kKvmGetApiVersion = _IO(kKvmType, 0x00);
inline constexpr unsigned long kKvmCreateVm = _IO(kKvmType, 0x01);
inline constexpr unsigned long kKvmCheckExtension = _IO(kKvmType, 0x03);
inline constexpr unsigned long kKvmGetVcpuMmapSize = _IO(kKvmType, 0x04);
inline constexpr unsigned long kKvmGetSupportedCpuid = _IOWR(kKvmType, 0x05, KvmCpuid);
inline constexpr unsigned long kKvmGetMsrIndexList = _IOWR(kKvmType, 0x02, KvmMsrList);
inline constexpr unsigned long kKvmGetMsrFeatureIndexList = _IOWR(kKvmType, 0x0a, KvmMsrList);
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
inline constexpr unsigned long kKvmGetDeviceAttr = _IOW(kKvmType, 0xe2, KvmDeviceAttr);
inline constexpr unsigned long kKvmSetUserMemoryRegion2 = _IOW(kKvmType, 0x49, KvmUserspaceMemoryRegion2);
inline constexpr unsigned long kKvmGetIrqchip = _IOWR(kKvmType, 0x62, KvmIrqchip);
inline constexpr unsigned long kKvmSetIrqchip = _IOR(kKvmType, 0x63, KvmIrqchip);
inline constexpr unsigned long kKvmRegisterCoalescedMmio = _IOW(kKvmType, 0x67, KvmCoalescedMmioZone);
inline constexpr unsigned long kKvmUnregisterCoalescedMmio = _IOW(kKvmType, 0x68, KvmCoalescedMmioZone);
inline constexpr unsigned long kKvmReinjectControl = _IO(kKvmType, 0x71);
inline constexpr unsigned long kKvmSetClock = _IOW(kKvmType, 0x7b, KvmClockData);
inline constexpr unsigned long kKvmGetClock = _IOR(kKvmType, 0x7c, KvmClockData);
inline constexpr unsigned long kKvmGetPit2 = _IOR(kKvmType, 0x9f, KvmPitState2);
inline constexpr unsigned long kKvmSetPit2 = _IOW(kKvmType, 0xa0, KvmPitState2);
inline constexpr unsigned long kKvmX86SetMsrFilter = _IOW(kKvmType, 0xc6, KvmMsrFilter);
inline constexpr unsigned long kKvmResetDirtyRings = _IO(kKvmType, 0xc7);
inline constexpr unsigned long kKvmSetMemoryAttributes = _IOW(kKvmType, 0xd2, KvmMemoryAttributes);
inline constexpr unsigned long kKvmCreateGuestMemfd = _IOWR(kKvmType, 0xd4, KvmCreateGuestMemfd);
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
inline constexpr unsigned long kKvmInterrupt = _IOW(kKvmType, 0x86, KvmInterrupt);
inline constexpr unsigned long kKvmSetMsrs = _IOW(kKvmType, 0x89, KvmMsrs);
inline constexpr unsigned long kKvmGetFpu = _IOR(kKvmType, 0x8c, KvmFpu);
inline constexpr unsigned long kKvmSetFpu = _IOW(kKvmType, 0x8d, KvmFpu);
inline constexpr unsigned long kKvmGetLapic = _IOR(kKvmType, 0x8e, KvmLapicState);
inline constexpr unsigned long kKvmSetLapic = _IOW(kKvmType, 0x8f, KvmLapicState);
inline constexpr unsigned long kKvmNmi = _IO(kKvmType, 0x9a);
inline constexpr unsigned long kKvmSetGuestDebug = _IOW(kKvmType, 0x9b, KvmGuestDebug);
inline constexpr unsigned long kKvmGetVcpuEvents = _IOR(kKvmType, 0x9f, KvmVcpuEvents);
inline constexpr unsigned long kKvmSetVcpuEvents = _IOW(kKvmType, 0xa0, KvmVcpuEvents);
inline constexpr unsigned long kKvmGetDebugregs = _IOR(kKvmType, 0xa1, KvmDebugregs);
inline constexpr unsigned long kKvmSetDebugregs = _IOW(kKvmType, 0xa2, KvmDebugregs);
inline constexpr unsigned long kKvmGetXsave = _IOR(kKvmType, 0xa4, KvmXsave);
inline constexpr unsigned long kKvmSetXsave = _IOW(kKvmType, 0xa5, KvmXsave);
inline constexpr unsigned long kKvmGetXsave2 = _IOR(kKvmType, 0xcf, KvmXsave);
inline constexpr unsigned long kKvmGetXcrs = _IOR(kKvmType, 0xa6, KvmXcrs);
inline constexpr unsigned long kKvmSetXcrs = _IOW(kKvmType, 0xa7, KvmXcrs);
// /dev/kvm and vCPU
inline constexpr unsigned long kKvmGetMsrs = _IOWR(kKvmType, 0x88, KvmMsrs);
// VM and vCPU
inline constexpr unsigned long kKvmSetTscKhz = _IO(kKvmType, 0xa2);
inline constexpr unsigned long kKvmGetTscKhz = _IO(kKvmType, 0xa3);
inline constexpr unsigned long kKvmGetStatsFd = _IO(kKvmType, 0xce);

inline constexpr int kKvmApiVersion = 12;
inline constexpr uint32_t kCapNrMemslots = 10;
inline constexpr uint32_t kCapIrqRouting = 25;
inline constexpr uint32_t kCapSplitIrqchip = 121;
inline constexpr uint32_t kCapDirtyLogRing = 192;
inline constexpr uint32_t kCapXsave2 = 208;
inline constexpr uint32_t kCapDirtyLogRingAcqRel = 223;
inline constexpr uint32_t kExitMemoryFault = 39;

}  // namespace nodevfio::uapi
