// A guest in C++: what the programs that measure guests share. Loads the same bytes as the benchmarks in JavaScript
// (examples/vmm/guest/echo.ts assembles them and says what lies where) and runs them on a thread.
#pragma once

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "measure.h"

namespace bench {

constexpr size_t kMemory = 1 << 20;
constexpr size_t kProgram = 0x8000;
constexpr size_t kMailbox = 0x10000;
constexpr uint64_t kDoorbell = 0xd0000000;
constexpr uint32_t kVector = 0x20;
constexpr uint16_t kControl = 0xf4;
constexpr uint16_t kLineStatus = 0x3fd;
constexpr uint8_t kLineEmpty = 0x20;
constexpr uint8_t kReady = 1;
// Behind the pins that the kernel's irqchip has.
constexpr uint32_t kGsi = 24;

// The header's own number is wrong in C++, where its structure, which ends in an array without members, is larger.
constexpr unsigned long kSetGsiRouting = _IOC(_IOC_WRITE, KVMIO, 0x6a, 8);

// What the guest and its host tell each other: examples/vmm/guest/runtime.ts.
struct Mailbox {
  uint32_t interrupts;
  uint32_t doorbells;
  uint32_t seen;
  uint32_t request;
  uint32_t burst;
};

[[noreturn]] inline void die(const char* what) {
  perror(what);
  // Without destructors: the guest's thread may be inside KVM_RUN.
  _exit(1);
}

inline int must(int result, const char* what) {
  if (result < 0) die(what);
  return result;
}

inline int makeEventFd() { return must(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"); }

inline void signal(int fd) {
  const uint64_t one = 1;
  if (write(fd, &one, sizeof one) != sizeof one) die("write");
}

// The count of an eventfd, 0 when it is empty.
inline uint64_t take(int fd) {
  uint64_t value = 0;
  return read(fd, &value, sizeof value) == sizeof value ? value : 0;
}

class Guest {
 public:
  // Loads the program in a file; its first processor starts at `entry`.
  Guest(const char* file, uint64_t entry) {
    const int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    vm_ = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    must(ioctl(vm_, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
    must(ioctl(vm_, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    void* const memory = mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    memory_ = static_cast<std::byte*>(memory);
    const int image = must(open(file, O_RDONLY | O_CLOEXEC), file);
    must(static_cast<int>(read(image, memory_ + kProgram, kMailbox - kProgram)), file);
    close(image);
    kvm_userspace_memory_region region = {};
    region.memory_size = kMemory;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory_);
    must(ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    vcpu_ = must(ioctl(vm_, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    const int size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    void* const run = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_, 0);
    if (run == MAP_FAILED) die("mmap");
    run_ = static_cast<kvm_run*>(run);
    close(kvm);
    flat32(entry);
  }

  [[nodiscard]] volatile Mailbox* mailbox() const { return reinterpret_cast<volatile Mailbox*>(memory_ + kMailbox); }

  // Each signal of `fd` interrupts the guest.
  void interruptBy(int fd) const {
    struct {
      uint32_t count = 1;
      uint32_t flags = 0;
      kvm_irq_routing_entry route = {};
    } table;
    table.route.gsi = kGsi;
    table.route.type = KVM_IRQ_ROUTING_MSI;
    table.route.u.msi.address_lo = 0xfee00000;
    table.route.u.msi.data = kVector;
    must(ioctl(vm_, kSetGsiRouting, &table), "KVM_SET_GSI_ROUTING");
    kvm_irqfd irqfd = {};
    irqfd.fd = static_cast<uint32_t>(fd);
    irqfd.gsi = kGsi;
    must(ioctl(vm_, KVM_IRQFD, &irqfd), "KVM_IRQFD");
  }

  // The guest's doorbell signals `fd`.
  void doorbellTo(int fd) const {
    kvm_ioeventfd doorbell = {};
    doorbell.addr = kDoorbell;
    doorbell.len = 4;
    doorbell.fd = fd;
    must(ioctl(vm_, KVM_IOEVENTFD, &doorbell), "KVM_IOEVENTFD");
  }

  // Starts the guest on a thread, pinned to a CPU, and waits until it takes interrupts.
  void start(int cpu) {
    std::thread([this, cpu] {
      pin(cpu);
      for (;;) run();
    }).detach();
    ready_.wait(false);
  }

 private:
  // 32-bit code, flat segments, no paging, interrupts off.
  void flat32(uint64_t entry) const {
    kvm_sregs special = {};
    must(ioctl(vcpu_, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
    kvm_segment segment = {};
    segment.limit = 0xffffffff;
    segment.selector = 8;
    segment.type = 11;
    segment.present = segment.s = segment.db = segment.g = 1;
    special.cs = segment;
    segment.selector = 16;
    segment.type = 3;
    special.ds = special.es = special.fs = special.gs = special.ss = segment;
    special.cr0 |= 1;
    must(ioctl(vcpu_, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
    kvm_regs registers = {};
    registers.rip = entry;
    registers.rflags = 2;
    must(ioctl(vcpu_, KVM_SET_REGS, &registers), "KVM_SET_REGS");
  }

  // Until the next exit, which is the guest's console or its control port.
  void run() {
    must(ioctl(vcpu_, KVM_RUN, 0), "KVM_RUN");
    if (run_->exit_reason != KVM_EXIT_IO) {
      fprintf(stderr, "the guest ended with exit reason %u\n", run_->exit_reason);
      _exit(1);
    }
    const auto& io = run_->io;
    uint8_t& data = reinterpret_cast<uint8_t*>(run_)[io.data_offset];
    if (io.direction == KVM_EXIT_IO_IN) {
      data = io.port == kLineStatus ? kLineEmpty : 0;
    } else if (io.port == kControl && data == kReady) {
      ready_ = true;
      ready_.notify_one();
    }
  }

  int vm_ = -1;
  int vcpu_ = -1;
  std::byte* memory_ = nullptr;
  kvm_run* run_ = nullptr;
  std::atomic<bool> ready_ = false;
};

}  // namespace bench
